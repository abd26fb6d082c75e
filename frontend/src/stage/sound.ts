// Whether there is sound: by itself where the browser allows it, else after one click; never where OSC drives it, unless asked for.
// Tone.js is loaded only when something is to be heard.

import type { Notes } from './mapping';
import type { Music } from './music';
import type { Targets } from './names';

export type Heard = 'silent' | 'waits' | 'sounds';

export class Sound {
  private music: Music | null = null;
  private loading = false;
  private muted: boolean | null = null;

  constructor(
    private readonly asked: { mute: boolean; sound: boolean },
    private readonly hear: () => { targets: Targets; notes: Notes; quiet: boolean },
    private readonly told: (heard: Heard) => void,
  ) {}

  /** The run's state is known: begin as it says, once. */
  known(osc: boolean): void {
    if (this.muted !== null) return;
    this.muted = this.asked.mute || (osc && !this.asked.sound);
    if (!this.muted) void this.begin();
  }

  /** Key M. */
  toggle(): void {
    this.muted = !this.muted;
    if (this.music) this.music.mute(this.muted);
    if (this.muted) this.told('silent');
    else void this.begin();
  }

  /** Somebody touched the page: what the browser held back may sound now. */
  touched(): void {
    if (this.muted === false) void this.begin();
  }

  private async begin(): Promise<void> {
    if (this.loading) return;
    this.loading = true;
    if (!this.music) {
      const { Music } = await import('./music');
      this.music = new Music(this.hear);
    }
    this.music.mute(this.muted === true);
    const allowed = await this.music.allowed();
    this.loading = false;
    this.told(this.muted ? 'silent' : allowed ? 'sounds' : 'waits');
  }
}
