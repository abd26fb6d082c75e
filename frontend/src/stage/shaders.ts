// The shaders of the letters and of the aura behind them.  `picture.ts` sets the uniforms and says what each means.

export const LETTER_VERTEX = /* glsl */ `
attribute vec4 aBody;   // in the body: x, y, time it goes (0: it has no place there), hash of the word
attribute vec4 aPage;   // on the page: x, y, time it goes, random number of the letter's word
attribute vec4 aMap;    // on the map: x, y, time it goes, how often the word was used
attribute vec4 aGlyph;  // cell in the atlas, offset in the word (em), nothing, surprise
attribute vec4 aLine;   // x on the line (em), lane and row, time it was added, time it leaves
attribute vec4 aTraits; // voice (0 the machine's, 1 the visitor's), letter's random number, nothing, word's random number

uniform vec2 uScene, uFocus;
uniform vec3 uEms, uShares;
uniform float uTime, uMiddle, uSize, uDisorder, uGather, uFall, uTremble, uMotion, uDecay;
uniform float uLearn, uWave, uSweep, uFlip, uEnd, uPerRow, uCrop, uColour, uBright, uFlight, uLast, uSilence;
uniform vec4 uLanes[4]; // scroll (rows), x of the left edge, y of the first row, em
uniform vec3 uMachine[6], uVisitor, uFaded, uLearning;
uniform int uMachines;

varying vec2 vUv;
varying vec4 vColour;
varying vec3 vWorn; // how worn the letter is, and where its own noise begins

const float TAU = 6.2831853;

float hash(float n) { return fract(sin(n * 91.3458) * 47453.5453); }
vec3 scatter(float n) { return vec3(hash(n), hash(n + 1.7), hash(n + 3.1)) * 2.0 - 1.0; }
float standing(float gone) { return gone <= 0.0 ? 0.0 : 1.0 - smoothstep(gone, gone + 0.9, uTime); }

void main() {
  float random = aTraits.y, placed = aTraits.w, word = aBody.w, unsure = aGlyph.w;
  vec3 s = scatter(random * 31.0 + 5.0);
  float age = uTime - aLine.z;
  float flown = clamp((uTime - aLine.w) / uFlight, 0.0, 1.0);
  flown = flown * flown * (3.0 - 2.0 * flown);

  // Each word belongs to a scene; the scenes' weights say how many words each has.
  float a = uShares.x * 1.08 - 0.04, b = (uShares.x + uShares.y) * 1.08 - 0.04;
  float inBody = 1.0 - smoothstep(a - 0.04, a + 0.04, placed);
  float onMap = smoothstep(b - 0.04, b + 0.04, placed);
  float onPage = max(0.0, 1.0 - inBody - onMap);

  // The body: lines in an ellipse, as through a lens.  With uGather, equal words draw together, line under line.
  vec2 p = aBody.xy;
  vec2 pile = (vec2(hash(word * 7.0), hash(word * 13.0)) * 1.5 - 0.75) * uScene;
  pile += vec2(aGlyph.y * uEms.x, (floor(placed * 15.0) - 7.0) * uEms.x * 1.2);
  p = mix(p, pile, smoothstep(placed * 0.88, placed * 0.88 + 0.12, uGather));
  vec2 q = p / uScene;
  float r2 = min(dot(q, q), 1.1);
  p *= 1.2 - 0.2 * r2;
  float lens = 1.2 - 0.6 * r2;
  p.x += 0.05 * uMotion * sin(uTime * 0.13) * (1.0 - r2);
  p.y += 0.008 * uMotion * sin(uTime * 0.5 + q.x * 2.0);
  p += vec2(sin(q.y * 4.0 + uTime * 0.11), sin(q.x * 5.0 + uTime * 0.09)) * uDisorder * 0.12;
  p += s.xy * vec2(0.55, 0.4) * uDisorder * uDisorder;
  vec2 body = p;

  // The page: lines of text, whose letters sink out of them as they wear off.
  vec2 page = aPage.xy;
  page.y += 0.006 * uMotion * sin(uTime * 0.35 + page.x * 1.3);
  page += vec2(0.25 * s.x, -0.35 * random) * uEms.y * uDecay * uDecay * uDecay * 2.0;

  // The map: a place for each word; with uGather, all that is left shrinks to the word that is used most.
  vec2 map = aMap.xy;
  float shrink = smoothstep(0.0, 1.0, uGather);
  map = mix(map, uFocus + vec2(aGlyph.y * uEms.z, s.y * uEms.z * 0.8) + (map - uFocus) * 0.04, shrink);
  map += vec2(sin(uTime * 0.21 + placed * 40.0), cos(uTime * 0.17 + placed * 60.0)) * 0.006 * uMotion;
  map += s.xy * 0.1 * uDisorder * uDisorder;

  vec2 at = body * inBody + page * onPage + map * onMap;
  float em = uEms.x * lens * inBody + uEms.y * onPage + uEms.z * onMap;
  float stands = standing(aBody.z) * inBody + standing(aPage.z) * onPage + standing(aMap.z) * onMap;
  float wave = exp(-pow((at.y / uScene.y - uWave) * 3.5, 2.0)) * uLearn;
  float sweep = exp(-pow((at.x / uScene.x - uSweep) * 5.0, 2.0));
  at += normalize(at + 1e-4) * 0.02 * wave;
  at *= uSize;
  em *= uSize;
  vec3 home = vec3(at.x, at.y + uMiddle, 0.0);

  // With uFall, letter after letter falls to the ground.
  float fallen = smoothstep(random * 0.82, random * 0.82 + 0.18, uFall) * (1.0 - 0.8 * onPage);
  vec3 ground = vec3(home.x * 1.05 + s.x * 0.3, -1.24 + 0.09 * s.y * s.y, 0.1 * s.z);
  home = mix(home, ground, fallen * fallen);
  float tilt = s.z * 1.4 * (uDisorder * uDisorder * inBody + 0.15 * uDecay * uDecay * onPage + fallen);
  // A new iteration turns every letter once, from left to right.
  float turn = TAU * smoothstep(0.0, 1.0, clamp(uFlip * 2.2 - (at.x / uScene.x * 0.5 + 0.5) * 1.2, 0.0, 1.0));

  // The line on which it is read.  With uDecay its letters leave it, tilt, and are missing.
  float row = floor(aLine.y / 4.0);
  vec4 lane = uLanes[int(aLine.y - row * 4.0)];
  float rowAt = row - lane.x;
  float torn = uDecay * uDecay;
  vec3 line = vec3(lane.y + aLine.x * lane.w, lane.z - rowAt * lane.w * 1.24, 0.0);
  line.xy += s.xy * lane.w * torn * vec2(0.8, 0.62);
  line.y += (hash(random + floor(uTime * 9.0)) - 0.5) * uTremble * (0.3 + 0.7 * unsure) * lane.w * 0.22;
  float lineTilt = s.z * 1.5 * torn;

  float away = 1.0 - flown;
  // A word stays whole on its way, and the nearer the end the more of its letters stray.
  vec3 stray = mix(scatter(placed * 53.0), s, uDecay);
  vec3 middle = mix(line, home, 0.5) + vec3(0.25 * stray.x, 0.18 + 0.14 * stray.y, 0.0);
  vec3 place = away * away * line + 2.0 * away * flown * middle + flown * flown * home;
  float size = mix(lane.w, em, flown);
  float angle = mix(lineTilt, tilt, flown);

  vec2 corner = position.xy * uCrop;
  vec2 drawn = vec2(corner.x * mix(1.0, cos(turn), flown), corner.y);
  drawn = mat2(cos(angle), sin(angle), -sin(angle), cos(angle)) * drawn;
  place.xy += drawn * size * 2.0;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(place, 1.0);

  float cell = aGlyph.x;
  vec2 inCell = corner + 0.5;
  vUv = vec2((mod(cell, uPerRow) + inCell.x) / uPerRow, 1.0 - (floor(cell / uPerRow) + 1.0 - inCell.y) / uPerRow);

  // Colour: the visitor's, or one of the machine's by the word's hash; both fade with uColour.  A surprising letter is brighter.
  vec3 tone = uMachine[int(min(word * float(uMachines), float(uMachines) - 1.0))];
  tone = mix(tone, uVisitor, aTraits.x);
  tone = mix(uFaded, tone, uColour);
  vec3 lineTone = mix(mix(uFaded, mix(uMachine[0], vec3(1.0), 0.5), 0.3 + 0.7 * uColour), uVisitor * 1.1, aTraits.x);
  tone = mix(lineTone, tone, flown);
  tone = mix(tone, uLearning, flown * clamp(0.16 * uLearn + 0.8 * wave + 0.9 * sweep, 0.0, 1.0));

  float light = mix(0.95, 1.2, unsure) * (1.0 + 0.7 * wave + 1.2 * sweep + 0.9 * sin(turn * 0.5));
  light *= mix(1.0, mix(1.06, 0.5, r2), inBody);
  light *= mix(1.0, 0.6 + 0.5 * min(1.0, log(1.0 + aMap.w) * 0.45), onMap);
  light *= 1.0 - 0.72 * uLast * (1.0 - 0.5 * fallen);
  light *= 1.0 - uSilence * (0.34 + 0.22 * sin(uTime * 0.9));
  light = mix(1.18 - 0.25 * unsure, light, flown);

  // Words go out: on the page any letter, in the body and on the map seldom; on the line letter after letter.
  float lost = smoothstep(0.15, 1.0, uDecay);
  float missing = step(hash(random * 29.0), lost * 0.42) * away;
  missing = max(missing, smoothstep(0.0, 0.08, lost * 1.05 - mix(hash(random * 17.0), placed, 0.55)) * onPage * flown);
  float visibility = smoothstep(0.0, 0.25, age) * mix(1.0, stands, flown) * (1.0 - missing);
  visibility *= 1.0 - smoothstep(random * 0.8, random * 0.8 + 0.2, uEnd);
  visibility *= mix(smoothstep(-0.9, -0.35, rowAt), 1.0, smoothstep(0.0, 0.15, flown));
  float flying = smoothstep(0.0, 0.05, flown) * (1.0 - smoothstep(0.95, 1.0, flown));
  visibility *= 1.0 - 0.85 * flying * pow(max(0.0, sin(flown * 3.14159)), 0.6); // not to cover what stands there
  // Words of the small lines pass behind the headline, unseen.
  if (aLine.y - row * 4.0 > 0.5) visibility *= 1.0 - flying * (1.0 - smoothstep(-0.58, -0.4, place.y));
  vColour = vec4(min(tone * light * uBright, vec3(1.15)), visibility);
  vWorn = vec3(clamp(lost * mix(1.0, 0.9 * onPage + 0.35 * inBody, flown) * (0.55 + 0.6 * random), 0.0, 1.0), s.xy * 40.0);
  if (visibility <= 0.001) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}
`;

export const LETTER_FRAGMENT = /* glsl */ `
uniform sampler2D uAtlas;
uniform float uGlow, uPerRow;
varying vec2 vUv;
varying vec4 vColour;
varying vec3 vWorn;
float noise(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }
float cloud(vec2 p) {
  vec2 cell = floor(p), part = fract(p);
  part = part * part * (3.0 - 2.0 * part);
  return mix(mix(noise(cell), noise(cell + vec2(1.0, 0.0)), part.x), mix(noise(cell + vec2(0.0, 1.0)), noise(cell + 1.0), part.x), part.y);
}
void main() {
  vec4 drawn = texture2D(uAtlas, vUv);
  float whole = 1.0;
  if (vWorn.x > 0.01) {
    vec2 at = vUv * uPerRow * 11.0 + vWorn.yz;
    float grain = 0.65 * cloud(at) + 0.35 * cloud(at * 2.7);
    whole = smoothstep(vWorn.x - 0.1, vWorn.x + 0.06, grain + 0.04);
  }
  float sharp = drawn.r * whole * vColour.a;
  gl_FragColor = vec4(vColour.rgb * (sharp + drawn.g * uGlow * 0.3 * vColour.a * mix(0.4, 1.0, whole)), min(1.0, sharp) * 0.9);
}
`;

export const AURA_VERTEX = /* glsl */ `
varying vec2 vAt;
uniform vec2 uHalf; // half of what is visible at the letters' depth
void main() {
  vAt = position.xy * 2.0 * uHalf;
  gl_Position = vec4(position.xy * 2.0, 1.0, 1.0);
}
`;

export const AURA_FRAGMENT = /* glsl */ `
uniform vec3 uGround, uWarm, uTone, uCool;
uniform vec2 uHalf, uScene;
uniform float uCore, uArc, uRing, uPixel, uTime, uFall, uLearn, uFlash, uSwap, uLife, uRounds, uMiddle, uSweep, uColour, uLast, uSilence;
varying vec2 vAt;

float noise(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }

void main() {
  vec2 q = (vAt - vec2(0.0, uMiddle)) / uScene;
  float r = length(q);
  vec3 colour = uGround * (1.15 - 0.12 * r * r);
  // The light behind the words: a healthy language stands in a room of colour, warm in the middle and cool towards the edges.
  vec3 warmth = mix(uTone, uWarm, 0.4 + 0.6 * uLearn);
  float core = exp(-r * r * 1.9);
  colour += warmth * core * (0.13 + 0.2 * uCore) * uLife * mix(0.35, 1.0, uColour);
  colour += uCool * (1.0 - core) * exp(-r * r * 0.35) * 0.2 * uLife * uColour;
  colour *= 1.0 - 0.55 * uLast;
  colour += vec3(0.34, 0.07, 0.05) * uLast * (0.42 + 0.1 * sin(uTime * 1.1)) * exp(-pow((vAt.y + 1.36) * 1.1, 2.0));
  colour *= 1.0 - uSilence * (0.3 + 0.2 * sin(uTime * 0.9));
  // Birth: light from the middle fills everything.
  colour += mix(uWarm, vec3(1.0), 0.6) * uFlash * uFlash * (0.4 + 0.75 * exp(-r * r * 1.6 * uFlash));
  // A swap: a band of light from left to right, ahead of the letters that turn.
  colour += mix(uTone, vec3(1.0), 0.4) * exp(-pow((vAt.x / uHalf.x - (uSwap * 2.8 - 1.4)) * 3.2, 2.0)) * step(0.001, uSwap) * (1.0 - 0.5 * uSwap) * 0.62;
  // A round begins: a narrow warm beam, from right to left.
  colour += uWarm * (exp(-pow((vAt.x / uScene.x - uSweep) * 26.0, 2.0)) * 0.75 + exp(-pow((vAt.x / uScene.x - uSweep) * 5.0, 2.0)) * 0.2);
  // The ground that letters fall to.
  colour += uTone * exp(-pow((vAt.y + 1.25) * 7.0, 2.0)) * exp(-vAt.x * vAt.x * 0.2) * uFall * 0.06;

  // The run's line at the foot: a mark for each round, and brighter the part of the rounds that is done.
  float along = (vAt.x / uScene.x) * 0.5 + 0.5;
  float foot = -1.312;
  float inside = step(0.0, along) * step(along, 1.0);
  float line = smoothstep(1.6 * uPixel, 0.4 * uPixel, abs(vAt.y - foot)) * inside;
  float mark = smoothstep(2.2 * uPixel, 0.8 * uPixel, abs(fract(along * uRounds + 0.5) - 0.5) / uRounds * 2.0 * uScene.x);
  mark *= smoothstep(0.022, 0.014, abs(vAt.y - foot)) * step(-0.01, along) * step(along, 1.01);
  float behind = uArc - along;
  float head = behind < 0.0 ? 0.0 : exp(-behind * 60.0);
  vec3 stroke = mix(uTone * 0.28, mix(uTone, uWarm, uLearn), step(along, uArc));
  stroke += uWarm * head * uLearn * 1.6;
  colour += stroke * max(line, mark) * uRing;
  colour += uWarm * head * uLearn * uRing * exp(-pow((vAt.y - foot) * 20.0, 2.0)) * 0.5 * inside;
  // Silence: a caret that waits where the next word would stand.
  float caret = smoothstep(0.016, 0.008, abs(vAt.x + uScene.x - 0.02)) * smoothstep(0.105, 0.09, abs(vAt.y + 0.66));
  colour += mix(uTone, vec3(1.0), 0.4) * caret * uSilence * (0.5 + 0.5 * sin(uTime * 3.2));

  colour += (noise(gl_FragCoord.xy + fract(uTime) * 61.0) - 0.5) * 0.012; // against banding on a dark wall
  gl_FragColor = vec4(max(colour, 0.0), 1.0);
}
`;
