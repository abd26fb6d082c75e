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
  Vector3,
  Vector4,
  WebGLRenderer,
} from 'three';
import { Atlas } from './atlas';
import { HALF, SCENE_HALF, SCENE_MIDDLE, sceneWidth } from './layout';
import { LANES, LetterMesh } from './letter_mesh';
import type { Colours } from './mapping';
import type { Targets } from './names';
import { AURA_FRAGMENT, AURA_VERTEX, LETTER_FRAGMENT, LETTER_VERTEX } from './shaders';
import type { Tier } from './tiers';

const FIELD_OF_VIEW = 34; // degrees, of the camera
const HEADLINE = { em: 0.2, y: -0.66 }; // em and the first row's middle, in the units of `layout.ts`
const SMALL = { em: 0.088, y: -1.13, gap: 0.12 };

/** What a frame needs beside the targets. */
export interface FrameState {
  time: number;
  lanes: { scroll: number }[];
  learning: number; // 0 to 1
  wave: number; // the height of a training step's wave, −1.5 to 1.5; 9 without one
  sweep: number; // where the beam of a round that begins is, 1.3 to −1.3; 9 without one
  swap: number; // 0 to 1: how far the turn of all letters at a swap is; 0 without one
  end: number; // 0 to 1: the end of a run, letters go out
  flash: number; // 1 to 0 when a run begins
  life: number; // 1 during a run, 0.35 without one
  lastWords: number; // 0 to 1
  silence: number; // 0 to 1: nobody has spoken for a while
  arc: number; // share of the run's rounds that are done
  rounds: number;
  flight: number; // seconds that a letter takes from its line to its place
}

export class Picture {
  letters: LetterMesh;
  private atlas: Atlas;
  private aspect: number;
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
    this.aspect = windowAspect();
    this.atlas = new Atlas(tier.atlas, tier.cell, tier.halo, family);
    this.letters = new LetterMesh(tier.letters, tier, this.aspect, this.atlas);
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
    this.letterMaterial.uniforms.uLanes!.value = Array.from({ length: LANES }, () => new Vector4());
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

  /** The width in em of each lane's rows. */
  get laneWidths(): number[] {
    const width = 2 * sceneWidth(this.aspect);
    const small = (width - 2 * SMALL.gap) / 3 / SMALL.em;
    return [width / this.headlineEm, small, small, small];
  }

  /** Whether the window has taken another shape since the words were laid out. */
  get misshapen(): boolean {
    return Math.abs(windowAspect() / this.aspect - 1) > 0.02;
  }

  /** Change the tier, the fonts or the shape: a new atlas and mesh, with the words of the old one. */
  rebuild(tier: Tier, family: string, now: number): void {
    const old = this.letters;
    this.tier = tier;
    this.family = family;
    this.aspect = windowAspect();
    this.atlas.dispose();
    this.atlas = new Atlas(tier.atlas, tier.cell, tier.halo, this.family);
    this.letters = new LetterMesh(tier.letters, tier, this.aspect, this.atlas);
    this.letters.copyWords(old, now);
    old.dispose();
    this.letterObject.geometry = this.letters.geometry;
    this.fit();
    this.bindAtlas();
  }

  /** Remove all letters. */
  clear(): void {
    const old = this.letters;
    this.atlas.releaseAll();
    this.letters = new LetterMesh(this.tier.letters, this.tier, this.aspect, this.atlas);
    old.dispose();
    this.letterObject.geometry = this.letters.geometry;
  }

  /** Adapt to the window's size, with no more pixels than the tier allows. */
  fit(): void {
    const width = Math.max(1, window.innerWidth);
    const height = Math.max(1, window.innerHeight);
    const ratio = Math.min(window.devicePixelRatio, Math.sqrt(this.tier.pixels / (width * height)));
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.position.z = HALF / Math.tan((FIELD_OF_VIEW / 360) * Math.PI);
    this.camera.updateProjectionMatrix();
    const half = sceneWidth(this.aspect);
    for (const material of [this.letterMaterial, this.auraMaterial]) {
      (material.uniforms.uScene!.value as Vector2).set(half, SCENE_HALF);
      material.uniforms.uMiddle!.value = SCENE_MIDDLE;
    }
    (this.auraMaterial.uniforms.uHalf!.value as Vector2).set((HALF * width) / height, HALF);
    this.auraMaterial.uniforms.uPixel!.value = (2 * HALF) / (height * ratio);
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
    this.auraMaterial.uniforms.uCool!.value = parseColour(colours.visitor);
  }

  draw(targets: Targets, state: FrameState): void {
    const { letters } = this;
    const sum = Math.max(1e-6, targets.body + targets.page + targets.map);
    const growing = targets.size; // the scenes fill the projection; an artist may want them smaller
    setUniforms(this.letterMaterial, {
      uTime: state.time,
      uDisorder: 1 - targets.order,
      uGather: targets.gather,
      uFall: Math.min(1, targets.fall),
      uTremble: targets.tremble,
      uMotion: targets.motion,
      uDecay: 1 - targets.legible,
      uColour: targets.colour,
      uBright: targets.brightness,
      uGlow: this.tier.halo ? targets.glow : 0,
      uSize: growing,
      uLearn: state.learning,
      uWave: state.wave,
      uSweep: state.sweep,
      uFlip: state.swap * 1.02,
      uEnd: state.end,
      uLast: state.lastWords,
      uSilence: state.silence,
      uFlight: state.flight,
    });
    const uniforms = this.letterMaterial.uniforms;
    (uniforms.uEms!.value as Vector3).set(letters.body.em, letters.page.em, letters.map.em);
    (uniforms.uShares!.value as Vector3).set(targets.body / sum, targets.page / sum, targets.map / sum);
    const { x, y } = letters.map.focus;
    (uniforms.uFocus!.value as Vector2).lerp(new Vector2(x, y), 0.02);
    const lanes = uniforms.uLanes!.value as Vector4[];
    const half = sceneWidth(this.aspect);
    const step = (2 * half + SMALL.gap) / 3;
    for (const [number, lane] of state.lanes.entries()) {
      if (number === 0) lanes[0]!.set(lane.scroll, -half, HEADLINE.y, this.headlineEm);
      else lanes[number]!.set(lane.scroll, -half + (number - 1) * step, SMALL.y, SMALL.em);
    }
    setUniforms(this.auraMaterial, {
      uTime: state.time,
      uCore: targets.core * (1 - state.end),
      uFall: targets.fall * (1 - state.end),
      uColour: targets.colour,
      uLearn: state.learning,
      uArc: state.arc,
      uRing: Math.max(0, state.life - 0.35) * (1 - state.end) * 1.25,
      uLife: state.life * (1 - 0.8 * state.end),
      uRounds: state.rounds,
      uFlash: state.flash,
      uSwap: state.swap,
      uSweep: state.sweep,
      uLast: state.lastWords,
      uSilence: state.silence,
    });
    this.renderer.render(this.scene, this.camera);
  }

  /** Where letters of the headline are in the window, in pixels. */
  onScreen(letters: { piece: string; row: number; x: number }[]): { piece: string; x: number; y: number; size: number }[] {
    const pixels = window.innerHeight / (2 * HALF);
    const em = this.headlineEm;
    return letters.map(({ piece, row, x }) => ({
      piece,
      x: window.innerWidth / 2 + (x * em - sceneWidth(this.aspect)) * pixels,
      y: (HALF - HEADLINE.y + row * em * 1.24) * pixels,
      size: em * pixels,
    }));
  }

  private get headlineEm(): number {
    return Math.min(HEADLINE.em, (2 * sceneWidth(this.aspect)) / 14); // on an upright screen, too, a row holds a long word
  }

  private bindAtlas(): void {
    this.letterMaterial.uniforms.uAtlas!.value = this.atlas.texture;
    this.letterMaterial.uniforms.uPerRow!.value = this.atlas.perRow;
    this.letterMaterial.uniforms.uCrop!.value = this.tier.halo ? 1 : 0.72;
  }
}

const LETTER_UNIFORMS = [
  'uTime', 'uMiddle', 'uDisorder', 'uGather', 'uFall', 'uTremble', 'uMotion', 'uDecay', 'uSize', 'uLearn', 'uWave', 'uSweep', 'uFlip',
  'uEnd', 'uLast', 'uSilence', 'uPerRow', 'uCrop', 'uColour', 'uBright', 'uFlight', 'uLanes', 'uMachine', 'uMachines', 'uVisitor',
  'uFaded', 'uLearning', 'uAtlas', 'uGlow', 'uScene', 'uFocus', 'uEms', 'uShares',
];
const AURA_UNIFORMS = [
  'uGround', 'uWarm', 'uTone', 'uCool', 'uCore', 'uArc', 'uRing', 'uPixel', 'uTime', 'uFall', 'uLearn', 'uFlash', 'uSwap', 'uLife',
  'uRounds', 'uHalf', 'uScene', 'uMiddle', 'uSweep', 'uColour', 'uLast', 'uSilence',
];

function initialUniforms(names: string[]): Record<string, { value: unknown }> {
  return Object.fromEntries(names.map((name) => [name, { value: initialValue(name) }]));
}

function initialValue(name: string): unknown {
  if (/Half|Scene|Focus/.test(name)) return new Vector2(0, 0);
  if (/Ems|Shares/.test(name)) return new Vector3();
  if (name === 'uMachine') return Array.from({ length: 6 }, () => new Color());
  return /Visitor|Faded|Learning|Ground|Warm|Tone|Cool/.test(name) ? new Color() : 0;
}

function windowAspect(): number {
  return Math.max(1, window.innerWidth) / Math.max(1, window.innerHeight);
}

function setUniforms(material: ShaderMaterial, to: Record<string, number>): void {
  for (const [name, value] of Object.entries(to)) material.uniforms[name]!.value = value;
}

// Not converted to linear light, because the shaders mix and output screen colours.
function parseColour(hex: string): Color {
  const number = parseInt(hex.slice(1), 16);
  return new Color((number >> 16) / 255, ((number >> 8) & 255) / 255, (number & 255) / 255);
}
