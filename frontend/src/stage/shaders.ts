// The shaders of the letters and of the aura behind them.  `picture.ts` sets the uniforms and says what each means.

export const LETTER_VERTEX = /* glsl */ `
attribute vec4 aHome;  // direction of the word's place; hash of the word
attribute vec4 aGlyph; // cell in the atlas, offset in the word (em), size, surprise
attribute vec4 aLine;  // x on the line (em), lane, time it was added, time it leaves
attribute vec4 aTraits;  // voice (0 the machine's, 1 the visitor's), letter's random number, time it is replaced, place's random number

uniform float uTime, uRadius, uEm, uLineEm, uSpin, uDisorder, uGather, uFall, uTremble, uMotion;
uniform float uLearn, uWave, uFlip, uEnd, uSpeak, uPerRow, uCrop, uColour, uBright, uFlight, uHalfWidth;
uniform vec2 uLanes[4]; // scroll (em), y
uniform vec3 uMachine[6], uVisitor, uFaded, uLearning;
uniform int uMachines;

varying vec2 vUv;
varying vec4 vColour;

const float TAU = 6.2831853;

vec3 turned(vec3 d, float a) { float c = cos(a), s = sin(a); return vec3(c * d.x + s * d.z, d.y, c * d.z - s * d.x); }
float hash(float n) { return fract(sin(n * 91.3458) * 47453.5453); }
vec3 scatter(float n) { return vec3(hash(n), hash(n + 1.7), hash(n + 3.1)) * 2.0 - 1.0; }
vec3 drift(vec3 p) { // smooth, with a mean of nothing
  return vec3(sin(p.y * 2.1 + p.z * 1.3), sin(p.z * 1.9 + p.x * 1.1), sin(p.x * 2.3 + p.y * 1.7));
}

void main() {
  float random = aTraits.y, placed = aTraits.w, word = aHome.w;
  float age = uTime - aLine.z;
  float flown = clamp((uTime - aLine.w) / uFlight, 0.0, 1.0);
  flown = flown * flown * (3.0 - 2.0 * flown);

  // Home: a place on the sphere.  With uGather, equal words draw together at one place.
  vec3 d = turned(aHome.xyz, uSpin);
  float polar = acos(clamp(hash(word * 7.0) * 1.7 - 0.85, -1.0, 1.0)), round_ = hash(word * 13.0) * TAU;
  float row = placed * 21.0; // equal words stand line under line
  polar += (floor(row) - 10.0) * uEm * 1.3;
  vec3 pile = turned(vec3(sin(polar) * sin(round_), cos(polar), sin(polar) * cos(round_)), uSpin);
  float gathered = smoothstep(placed * 0.88, placed * 0.88 + 0.12, uGather);
  d = normalize(mix(d, pile, gathered * 0.985) + vec3(0.0, 1e-4, 0.0));
  float far = mix(1.0, 0.84 + 0.3 * fract(row), gathered);
  vec3 east = normalize(vec3(d.z, 0.0, -d.x) + vec3(1e-5, 0.0, 0.0));
  vec3 north = cross(d, east);

  float em = uEm * aGlyph.z;
  float wave = exp(-pow((d.y - uWave) * 4.5, 2.0)) * uLearn;
  vec3 home = d * uRadius * (far + 0.05 * wave) + east * aGlyph.y * em;
  float breath = 0.006 * uMotion * sin(uTime * 0.6 + d.y * 3.0 + placed * 2.0);
  home += d * breath;
  home += drift(d * 1.6 + uTime * 0.05 * uMotion) * uDisorder * 0.16 * uRadius;
  home += scatter(random * 57.0) * uDisorder * uDisorder * 0.34 * uRadius;

  // With uFall, letter after letter falls to the ground.
  float fallen = smoothstep(random * 0.82, random * 0.82 + 0.18, uFall);
  vec3 s = scatter(random * 31.0 + 5.0);
  vec3 ground = vec3(home.x * 1.25 + s.x * 0.35, -1.06 + 0.07 * s.y * s.y, home.z * 0.8 + s.z * 0.3);
  home = mix(home, ground, fallen * fallen);

  // Rotation: disordered and fallen letters are tilted; a new iteration turns every letter once, from below to above.
  float tilt = (s.z * 1.5) * (uDisorder * uDisorder * 0.8 + fallen);
  float turn = TAU * smoothstep(0.0, 1.0, clamp(uFlip * 2.0 - (d.y * 0.5 + 0.5), 0.0, 1.0));
  vec3 right = east * cos(turn) + d * sin(turn);
  vec3 up = north;
  vec3 tilted = right * cos(tilt) + up * sin(tilt);
  up = up * cos(tilt) - right * sin(tilt);
  right = tilted;

  // The line in front of the sphere; from there a letter flies through the core to its place.
  int lane = int(aLine.y);
  vec3 line = vec3((aLine.x - uLanes[lane].x) * uLineEm + uHalfWidth * 0.42, uLanes[lane].y, 1.12);
  float unsure = aGlyph.w;
  line.y += (hash(random + floor(uTime * 9.0)) - 0.5) * uTremble * unsure * 0.03 + s.y * uTremble * 0.02;
  float lineSize = uLineEm * (1.0 - 0.12 * unsure);
  vec3 core = vec3(s.x, s.y, s.z) * 0.16;
  float away = 1.0 - flown;
  vec3 place = away * away * line + 2.0 * away * flown * core + flown * flown * home;
  right = normalize(mix(vec3(1.0, 0.0, 0.0), right, flown) + vec3(1e-5, 0.0, 0.0));
  up = normalize(mix(vec3(0.0, 1.0, 0.0), up, flown) + vec3(0.0, 1e-5, 0.0));
  float size = mix(lineSize, em, flown);

  vec2 corner = position.xy * uCrop;
  place += (right * corner.x + up * corner.y) * size * 2.0;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(place, 1.0);

  float cell = aGlyph.x;
  vec2 inCell = corner + 0.5;
  vUv = vec2((mod(cell, uPerRow) + inCell.x) / uPerRow, 1.0 - (floor(cell / uPerRow) + 1.0 - inCell.y) / uPerRow);

  // Colour: the visitor's, or one of the machine's by the word's hash; both fade with uColour.  A surprising letter is brighter.
  vec3 tone = uMachine[int(min(word * float(uMachines), float(uMachines) - 1.0))];
  tone = mix(uMachine[0], tone, 0.62);
  tone = mix(tone, uVisitor, aTraits.x);
  tone = mix(uFaded, tone, uColour);
  vec3 lineTone = mix(mix(uFaded, uMachine[0], 0.45 + 0.55 * uColour), uVisitor, aTraits.x);
  tone = mix(lineTone, tone, flown);
  tone = mix(tone, uLearning, flown * clamp(0.22 * uLearn + 0.75 * wave, 0.0, 1.0));

  float facing = smoothstep(-0.25, 0.6, d.z);
  float depth = mix(mix(0.1, 1.0, facing), 0.85, fallen);
  float light = depth * mix(0.5, 1.0, unsure) * (1.0 + 1.1 * wave);
  float parted = exp(-pow(home.y / 0.17, 2.0)) * uSpeak * smoothstep(-0.4, 0.4, d.z);
  light *= 1.0 - 0.86 * parted;
  light = mix(1.15 - 0.35 * unsure, light, flown);
  light += 0.8 * sin(flown * 3.14159) * (1.0 - uFall);
  float visibility = smoothstep(0.0, 0.3, age) * (1.0 - smoothstep(aTraits.z, aTraits.z + 1.5, uTime));
  visibility *= 1.0 - smoothstep(random * 0.8, random * 0.8 + 0.2, uEnd);
  visibility *= mix(smoothstep(-uHalfWidth * 1.02, -uHalfWidth * 0.6, line.x), 1.0, flown);
  vColour = vec4(tone, light * uBright * visibility);
  if (visibility <= 0.001) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}
`;

export const LETTER_FRAGMENT = /* glsl */ `
uniform sampler2D uAtlas;
uniform float uGlow;
varying vec2 vUv;
varying vec4 vColour;
void main() {
  vec4 drawn = texture2D(uAtlas, vUv);
  float sharp = drawn.r * vColour.a;
  gl_FragColor = vec4(vColour.rgb * (sharp + drawn.g * uGlow * 0.32 * vColour.a), min(1.0, sharp) * 0.8);
}
`;

export const AURA_VERTEX = /* glsl */ `
varying vec2 vAt;
uniform vec2 uHalf; // half of what is visible at the sphere's depth
void main() {
  vAt = position.xy * 2.0 * uHalf;
  gl_Position = vec4(position.xy * 2.0, 1.0, 1.0);
}
`;

export const AURA_FRAGMENT = /* glsl */ `
uniform vec3 uGround, uWarm, uTone;
uniform float uCore, uRadius, uArc, uHead, uRing, uPixel, uTime, uFall, uLearn, uFlash, uLife;
uniform float uRounds;
varying vec2 vAt;

float noise(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }

void main() {
  float r = length(vAt);
  vec3 colour = uGround * (1.08 - 0.16 * r * r);
  // The core, which letters fly through and which glows while a round trains.
  float core = exp(-r * r * 3.4 / (uRadius * uRadius)) * 0.115 + exp(-r * r * 26.0) * 0.16;
  vec3 warmth = mix(uTone, uWarm, 0.35 + 0.65 * uLearn);
  colour += warmth * core * uCore * uLife;
  colour += mix(uWarm, vec3(1.0), 0.4) * uFlash * (exp(-r * r * 2.2) * 0.55 + exp(-pow((r - 1.25 * (1.0 - uFlash)) * 9.0, 2.0)) * 0.18);
  // The ground that letters fall to.
  float floor_ = exp(-pow((vAt.y + 1.13) * 9.0, 2.0)) * exp(-vAt.x * vAt.x * 0.8);
  colour += uTone * floor_ * uFall * 0.05;

  // The run's circle: a thin line, a mark for each round, and brighter the part of the rounds that is done.
  const float CIRCLE = 1.2;
  float angle = atan(vAt.x, vAt.y) / 6.2831853;
  angle = angle < 0.0 ? angle + 1.0 : angle;
  float line = smoothstep(1.1 * uPixel, 0.1 * uPixel, abs(r - CIRCLE) - 0.35 * uPixel);
  float lived = step(angle, uArc);
  float mark = smoothstep(1.3 * uPixel, 0.3 * uPixel, abs(fract(angle * uRounds + 0.5) - 0.5) / uRounds * 6.2831853 * r);
  mark *= smoothstep(1.0, 0.0, abs(r - CIRCLE) / 0.012);
  float behind = uArc - angle;
  float head = behind < 0.0 ? 0.0 : exp(-behind * 60.0);
  vec3 stroke = mix(uTone * 0.2, mix(uTone, uWarm, uLearn) * 0.75, lived);
  stroke += uWarm * head * uLearn * 1.6;
  colour += stroke * max(line, mark) * uRing;
  colour += uWarm * head * uLearn * uRing * exp(-pow((r - CIRCLE) * 26.0, 2.0)) * 0.35 * uHead;

  colour += (noise(gl_FragCoord.xy + fract(uTime) * 61.0) - 0.5) * 0.012; // against banding on a dark wall
  gl_FragColor = vec4(max(colour, 0.0), 1.0);
}
`;
