// Draws the body and the aura: two draw calls whatever is said.  Knows uniforms and pixels; what they follow, `stage.ts` knows.

import {
  AddEquation,
  Color,
  CustomBlending,
  Mesh,
  OneFactor,
  OneMinusSrcAlphaFactor,
  PerspectiveCamera,
  PlaneGeometry,
  Scene,
  ShaderMaterial,
  SRGBColorSpace,
  Vector2,
  WebGLRenderer,
} from 'three';
import { Atlas } from './atlas';
import { Body, LANES } from './body';
import type { Colours } from './mapping';
import type { Targets } from './names';
import { AURA_FRAGMENT, AURA_VERTEX, LETTER_FRAGMENT, LETTER_VERTEX } from './shaders';
import type { Tier } from './tiers';

const FIELD = 34; // degrees, of the camera
const SEEN = 1.36; // half the height that is seen at the body's depth, the body's radius being 1
const LANE_HEIGHTS = [0, -0.17, 0.17, -0.34];

/** Everything of a moment that no mapping decides. */
export interface Moment {
  time: number;
  spin: number;
  fullness: number;
  lanes: { scroll: number }[];
  speaking: number; // 0 to 1: the body opens for the reading line
  learning: number; // 0 to 1
  wave: number; // −1.4 to 1.4: where a step's wave is
  flip: number; // 0 to 1.5: a new iteration turns every letter
  end: number; // 0 to 1: lights go out
  flash: number; // 1 to 0: a language is born
  life: number; // 0 to 1: whether there is one
  arc: number; // share of the life that has been lived
  rounds: number;
  flight: number; // seconds from the line to the body
}

export class Picture {
  body: Body;
  private atlas: Atlas;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(FIELD, 1, 0.1, 20);
  private readonly letters: ShaderMaterial;
  private readonly aura: ShaderMaterial;
  private readonly mesh: Mesh;
  private readonly renderer: WebGLRenderer;

  /** Throws where the browser draws no WebGL. */
  constructor(
    canvas: HTMLCanvasElement,
    private tier: Tier,
    private family: string,
  ) {
    this.renderer = new WebGLRenderer({ canvas, antialias: tier.antialias, alpha: false, powerPreference: 'high-performance', stencil: false });
    this.renderer.outputColorSpace = SRGBColorSpace;
    this.renderer.info.autoReset = true;
    this.atlas = new Atlas(tier.atlas, tier.cell, tier.halo, family);
    this.body = new Body(tier.words, tier.letters, this.atlas);
    this.letters = new ShaderMaterial({
      vertexShader: LETTER_VERTEX,
      fragmentShader: LETTER_FRAGMENT,
      depthTest: false,
      depthWrite: false,
      transparent: true,
      blending: CustomBlending,
      blendEquation: AddEquation,
      blendSrc: OneFactor,
      blendDst: OneMinusSrcAlphaFactor,
      uniforms: values(LETTERS),
    });
    this.letters.uniforms.uLanes!.value = Array.from({ length: LANES }, () => new Vector2());
    this.aura = new ShaderMaterial({
      vertexShader: AURA_VERTEX,
      fragmentShader: AURA_FRAGMENT,
      depthTest: false,
      depthWrite: false,
      uniforms: values(AURA),
    });
    const behind = new Mesh(new PlaneGeometry(1, 1), this.aura);
    behind.frustumCulled = false;
    behind.renderOrder = -1;
    this.mesh = new Mesh(this.body.geometry, this.letters);
    this.mesh.frustumCulled = false;
    this.scene.add(behind, this.mesh);
    this.fit();
    this.dress();
  }

  /** What the graphics card calls itself. */
  get card(): string {
    const gl = this.renderer.getContext();
    const told = gl.getExtension('WEBGL_debug_renderer_info');
    return String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  }

  get drawn(): { calls: number; textures: number; geometries: number; instances: number } {
    const { render, memory } = this.renderer.info;
    return { calls: render.calls, textures: memory.textures, geometries: memory.geometries, instances: this.body.geometry.instanceCount };
  }

  /** Another tier or other fonts: a new body, with the words of the old one. */
  renew(tier: Tier, family: string, now: number): void {
    const old = this.body;
    this.tier = tier;
    this.family = family;
    this.atlas.dispose();
    this.atlas = new Atlas(tier.atlas, tier.cell, tier.halo, this.family);
    this.body = new Body(tier.words, tier.letters, this.atlas);
    this.body.inherit(old, now);
    old.dispose();
    this.mesh.geometry = this.body.geometry;
    this.fit();
    this.dress();
  }

  /** The window's size, within the tier's pixels. */
  fit(): void {
    const width = Math.max(1, window.innerWidth);
    const height = Math.max(1, window.innerHeight);
    const ratio = Math.min(window.devicePixelRatio, Math.sqrt(this.tier.pixels / (width * height)));
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    const aspect = width / height;
    const half = SEEN / Math.min(1, aspect); // on an upright screen the width decides
    this.camera.aspect = aspect;
    this.camera.position.z = half / Math.tan((FIELD / 360) * Math.PI);
    this.camera.updateProjectionMatrix();
    const nearer = (this.camera.position.z - 1.12) / this.camera.position.z;
    this.letters.uniforms.uHalfWidth!.value = half * aspect * nearer;
    this.letters.uniforms.uLineEm!.value = Math.min(0.092, half * aspect * nearer * 0.085);
    (this.aura.uniforms.uHalf!.value as Vector2).set(half * aspect, half);
    this.aura.uniforms.uPixel!.value = (2 * half) / (height * ratio);
  }

  paint(colours: Colours): void {
    const machine = Array.from({ length: 6 }, (_, index) => colour(colours.machine[index % colours.machine.length]!));
    const letters = this.letters.uniforms;
    letters.uMachine!.value = machine;
    letters.uMachines!.value = colours.machine.length;
    letters.uVisitor!.value = colour(colours.visitor);
    letters.uFaded!.value = colour(colours.faded);
    letters.uLearning!.value = colour(colours.learning);
    this.aura.uniforms.uGround!.value = colour(colours.ground);
    this.aura.uniforms.uWarm!.value = colour(colours.learning);
    this.aura.uniforms.uTone!.value = machine[0];
  }

  draw(targets: Targets, moment: Moment): void {
    const grown = 0.42 + 0.58 * Math.sqrt(moment.fullness);
    const radius = targets.size * grown * (1 - 0.07 * moment.learning) * (1 - 0.25 * moment.end);
    const sparse = (1 - moment.fullness) ** 2;
    set(this.letters, {
      uTime: moment.time,
      uRadius: radius,
      uEm: radius * this.body.places.em * (1 + 1.1 * sparse),
      uSpin: moment.spin,
      uDisorder: 1 - targets.order,
      uGather: targets.gather,
      uFall: Math.min(1, targets.fall),
      uTremble: targets.tremble,
      uMotion: targets.motion,
      uColour: targets.colour,
      uBright: targets.brightness,
      uGlow: this.tier.halo ? targets.glow : 0,
      uLearn: moment.learning,
      uWave: moment.wave,
      uFlip: moment.flip,
      uEnd: moment.end,
      uSpeak: moment.speaking,
      uFlight: moment.flight,
    });
    const lanes = this.letters.uniforms.uLanes!.value as Vector2[];
    for (const [number, lane] of moment.lanes.entries()) lanes[number]!.set(lane.scroll, LANE_HEIGHTS[number]!);
    set(this.aura, {
      uTime: moment.time,
      uRadius: radius,
      uCore: targets.core * (1 + 0.5 * moment.speaking) * (1 - moment.end),
      uFall: targets.fall * (1 - moment.end),
      uLearn: moment.learning,
      uArc: moment.arc,
      uHead: 1,
      uRing: Math.max(0, moment.life - 0.35) * (1 - moment.end) * 1.25,
      uLife: moment.life,
      uRounds: moment.rounds,
      uFlash: moment.flash,
    });
    this.renderer.render(this.scene, this.camera);
  }

  private dress(): void {
    this.letters.uniforms.uAtlas!.value = this.atlas.texture;
    this.letters.uniforms.uPerRow!.value = this.atlas.perRow;
    this.letters.uniforms.uCrop!.value = this.tier.halo ? 1 : 0.72;
  }
}

const LETTERS = [
  'uTime', 'uRadius', 'uEm', 'uLineEm', 'uSpin', 'uDisorder', 'uGather', 'uFall', 'uTremble', 'uMotion', 'uLearn', 'uWave', 'uFlip',
  'uEnd', 'uSpeak', 'uPerRow', 'uCrop', 'uColour', 'uBright', 'uFlight', 'uHalfWidth', 'uLanes', 'uMachine', 'uMachines', 'uVisitor',
  'uFaded', 'uLearning', 'uAtlas', 'uGlow',
];
const AURA = [
  'uGround', 'uWarm', 'uTone', 'uCore', 'uRadius', 'uArc', 'uHead', 'uRing', 'uPixel', 'uTime', 'uFall', 'uLearn', 'uFlash', 'uLife',
  'uRounds', 'uHalf',
];

function values(names: string[]): Record<string, { value: unknown }> {
  return Object.fromEntries(names.map((name) => [name, { value: name === 'uHalf' ? new Vector2(1, 1) : name.match(/Machine$/) ? Array.from({ length: 6 }, () => new Color()) : name.match(/Visitor|Faded|Learning|Ground|Warm|Tone/) ? new Color() : 0 }]));
}

function set(material: ShaderMaterial, to: Record<string, number>): void {
  for (const [name, value] of Object.entries(to)) material.uniforms[name]!.value = value;
}

// As written, not converted to linear light: the shaders mix and put out screen colours.
function colour(hex: string): Color {
  const number = parseInt(hex.slice(1), 16);
  return new Color((number >> 16) / 255, ((number >> 8) & 255) / 255, (number & 255) / 255);
}
