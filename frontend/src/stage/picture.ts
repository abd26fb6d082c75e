// Draws the letters and the aura behind them, in two draw calls however many letters there are.  Sets the shaders' uniforms from
// the targets and the frame's state, which `stage.ts` keeps.

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
import { LANES, LetterMesh } from './letter_mesh';
import type { Colours } from './mapping';
import type { Targets } from './names';
import { AURA_FRAGMENT, AURA_VERTEX, LETTER_FRAGMENT, LETTER_VERTEX } from './shaders';
import type { Tier } from './tiers';

const FIELD_OF_VIEW = 34; // degrees, of the camera
const VISIBLE_HALF_HEIGHT = 1.36; // half of the visible height at the sphere's depth, in its radius
const LANE_HEIGHTS = [0, -0.17, 0.17, -0.34];

/** What a frame needs beside the targets. */
export interface FrameState {
  time: number;
  spin: number;
  fullness: number;
  lanes: { scroll: number }[];
  speaking: number; // 0 to 1: letters make room for the lines
  learning: number; // 0 to 1
  wave: number; // the height of a training step's wave, −1.5 to 1.5; 9 without one
  flip: number; // 0 to 1.02: a new iteration turns every letter once
  end: number; // 0 to 1: the end of a run, letters go out
  flash: number; // 1 to 0 when a run begins
  life: number; // 1 during a run, 0.35 without one
  arc: number; // share of the run's rounds that are done
  rounds: number;
  flight: number; // seconds that a letter takes from its line to its place
}

export class Picture {
  letters: LetterMesh;
  private atlas: Atlas;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.1, 20);
  private readonly letterMaterial: ShaderMaterial;
  private readonly auraMaterial: ShaderMaterial;
  private readonly letterObject: Mesh;
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
    this.letters = new LetterMesh(tier.words, tier.letters, this.atlas);
    this.letterMaterial = new ShaderMaterial({
      vertexShader: LETTER_VERTEX,
      fragmentShader: LETTER_FRAGMENT,
      depthTest: false,
      depthWrite: false,
      transparent: true,
      blending: CustomBlending,
      blendEquation: AddEquation,
      blendSrc: OneFactor,
      blendDst: OneMinusSrcAlphaFactor,
      uniforms: initialUniforms(LETTER_UNIFORMS),
    });
    this.letterMaterial.uniforms.uLanes!.value = Array.from({ length: LANES }, () => new Vector2());
    this.auraMaterial = new ShaderMaterial({
      vertexShader: AURA_VERTEX,
      fragmentShader: AURA_FRAGMENT,
      depthTest: false,
      depthWrite: false,
      uniforms: initialUniforms(AURA_UNIFORMS),
    });
    const behind = new Mesh(new PlaneGeometry(1, 1), this.auraMaterial);
    behind.frustumCulled = false;
    behind.renderOrder = -1;
    this.letterObject = new Mesh(this.letters.geometry, this.letterMaterial);
    this.letterObject.frustumCulled = false;
    this.scene.add(behind, this.letterObject);
    this.fit();
    this.bindAtlas();
  }

  /** The graphics card as WebGL names it. */
  get gpuName(): string {
    const gl = this.renderer.getContext();
    const debugInfo = gl.getExtension('WEBGL_debug_renderer_info');
    return String(gl.getParameter(debugInfo ? debugInfo.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  }

  /** What three.js counts of the last frame and of memory. */
  get statistics(): { calls: number; textures: number; geometries: number; instances: number } {
    const { render, memory } = this.renderer.info;
    return { calls: render.calls, textures: memory.textures, geometries: memory.geometries, instances: this.letters.geometry.instanceCount };
  }

  /** Change the tier or the fonts: a new atlas and mesh, with the words of the old one. */
  rebuild(tier: Tier, family: string, now: number): void {
    const old = this.letters;
    this.tier = tier;
    this.family = family;
    this.atlas.dispose();
    this.atlas = new Atlas(tier.atlas, tier.cell, tier.halo, this.family);
    this.letters = new LetterMesh(tier.words, tier.letters, this.atlas);
    this.letters.copyWords(old, now);
    old.dispose();
    this.letterObject.geometry = this.letters.geometry;
    this.fit();
    this.bindAtlas();
  }

  /** Adapt to the window's size, with no more pixels than the tier allows. */
  fit(): void {
    const width = Math.max(1, window.innerWidth);
    const height = Math.max(1, window.innerHeight);
    const ratio = Math.min(window.devicePixelRatio, Math.sqrt(this.tier.pixels / (width * height)));
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    const aspect = width / height;
    const half = VISIBLE_HALF_HEIGHT / Math.min(1, aspect); // on an upright screen the width decides
    this.camera.aspect = aspect;
    this.camera.position.z = half / Math.tan((FIELD_OF_VIEW / 360) * Math.PI);
    this.camera.updateProjectionMatrix();
    const nearer = (this.camera.position.z - 1.12) / this.camera.position.z;
    this.letterMaterial.uniforms.uHalfWidth!.value = half * aspect * nearer;
    this.letterMaterial.uniforms.uLineEm!.value = Math.min(0.092, half * aspect * nearer * 0.085);
    (this.auraMaterial.uniforms.uHalf!.value as Vector2).set(half * aspect, half);
    this.auraMaterial.uniforms.uPixel!.value = (2 * half) / (height * ratio);
  }

  setColours(colours: Colours): void {
    const machine = Array.from({ length: 6 }, (_, index) => parseColour(colours.machine[index % colours.machine.length]!));
    const letters = this.letterMaterial.uniforms;
    letters.uMachine!.value = machine;
    letters.uMachines!.value = colours.machine.length;
    letters.uVisitor!.value = parseColour(colours.visitor);
    letters.uFaded!.value = parseColour(colours.faded);
    letters.uLearning!.value = parseColour(colours.learning);
    this.auraMaterial.uniforms.uGround!.value = parseColour(colours.ground);
    this.auraMaterial.uniforms.uWarm!.value = parseColour(colours.learning);
    this.auraMaterial.uniforms.uTone!.value = machine[0];
  }

  draw(targets: Targets, state: FrameState): void {
    const grown = 0.42 + 0.58 * Math.sqrt(state.fullness);
    const radius = targets.size * grown * (1 - 0.07 * state.learning) * (1 - 0.25 * state.end);
    const sparse = (1 - state.fullness) ** 2;
    setUniforms(this.letterMaterial, {
      uTime: state.time,
      uRadius: radius,
      uEm: radius * this.letters.places.em * (1 + 1.1 * sparse),
      uSpin: state.spin,
      uDisorder: 1 - targets.order,
      uGather: targets.gather,
      uFall: Math.min(1, targets.fall),
      uTremble: targets.tremble,
      uMotion: targets.motion,
      uColour: targets.colour,
      uBright: targets.brightness,
      uGlow: this.tier.halo ? targets.glow : 0,
      uLearn: state.learning,
      uWave: state.wave,
      uFlip: state.flip,
      uEnd: state.end,
      uSpeak: state.speaking,
      uFlight: state.flight,
    });
    const lanes = this.letterMaterial.uniforms.uLanes!.value as Vector2[];
    for (const [number, lane] of state.lanes.entries()) lanes[number]!.set(lane.scroll, LANE_HEIGHTS[number]!);
    setUniforms(this.auraMaterial, {
      uTime: state.time,
      uRadius: radius,
      uCore: targets.core * (1 + 0.5 * state.speaking) * (1 - state.end),
      uFall: targets.fall * (1 - state.end),
      uLearn: state.learning,
      uArc: state.arc,
      uHead: 1,
      uRing: Math.max(0, state.life - 0.35) * (1 - state.end) * 1.25,
      uLife: state.life,
      uRounds: state.rounds,
      uFlash: state.flash,
    });
    this.renderer.render(this.scene, this.camera);
  }

  private bindAtlas(): void {
    this.letterMaterial.uniforms.uAtlas!.value = this.atlas.texture;
    this.letterMaterial.uniforms.uPerRow!.value = this.atlas.perRow;
    this.letterMaterial.uniforms.uCrop!.value = this.tier.halo ? 1 : 0.72;
  }
}

const LETTER_UNIFORMS = [
  'uTime', 'uRadius', 'uEm', 'uLineEm', 'uSpin', 'uDisorder', 'uGather', 'uFall', 'uTremble', 'uMotion', 'uLearn', 'uWave', 'uFlip',
  'uEnd', 'uSpeak', 'uPerRow', 'uCrop', 'uColour', 'uBright', 'uFlight', 'uHalfWidth', 'uLanes', 'uMachine', 'uMachines', 'uVisitor',
  'uFaded', 'uLearning', 'uAtlas', 'uGlow',
];
const AURA_UNIFORMS = [
  'uGround', 'uWarm', 'uTone', 'uCore', 'uRadius', 'uArc', 'uHead', 'uRing', 'uPixel', 'uTime', 'uFall', 'uLearn', 'uFlash', 'uLife',
  'uRounds', 'uHalf',
];

function initialUniforms(names: string[]): Record<string, { value: unknown }> {
  return Object.fromEntries(names.map((name) => [name, { value: name === 'uHalf' ? new Vector2(1, 1) : name.match(/Machine$/) ? Array.from({ length: 6 }, () => new Color()) : name.match(/Visitor|Faded|Learning|Ground|Warm|Tone/) ? new Color() : 0 }]));
}

function setUniforms(material: ShaderMaterial, to: Record<string, number>): void {
  for (const [name, value] of Object.entries(to)) material.uniforms[name]!.value = value;
}

// Not converted to linear light, because the shaders mix and output screen colours.
function parseColour(hex: string): Color {
  const number = parseInt(hex.slice(1), 16);
  return new Color((number >> 16) / 255, ((number >> 8) & 255) / 255, (number & 255) / 255);
}
