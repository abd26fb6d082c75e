// Whether the stage plays its music: by itself where the browser allows it, else after one click; not where the owner sends OSC,
// unless the address asks for it.  Tone.js is loaded only when the music begins.

import type { Music, MusicInput } from './music';

export type SoundState = 'silent' | 'waits' | 'sounds';

export class Sound {
  private music: Music | null = null;
  private loading = false;
  private muted: boolean | null = null;

  constructor(
    private readonly requested: { mute: boolean; sound: boolean },
    private readonly readInput: () => MusicInput,
    private readonly onChange: (state: SoundState) => void,
  ) {}

  /** Begin, unless muted in the address or the owner sends OSC.  Only the first call has an effect. */
  begin(osc: boolean): void {
    if (this.muted !== null) return;
    this.muted = this.requested.mute || (osc && !this.requested.sound);
    if (!this.muted) void this.start();
  }

  /** Mute or unmute. */
  toggle(): void {
    this.muted = !this.muted;
    if (this.music) this.music.mute(this.muted);
    if (this.muted) this.onChange('silent');
    else void this.start();
  }

  /** Somebody touched the page: try again to start what the browser has not allowed before. */
  retry(): void {
    if (this.muted === false) void this.start();
  }

  private async start(): Promise<void> {
    if (this.loading) return;
    this.loading = true;
    if (!this.music) {
      const { Music } = await import('./music');
      this.music = new Music(this.readInput);
    }
    this.music.mute(this.muted === true);
    const started = await this.music.start();
    this.loading = false;
    this.onChange(this.muted ? 'silent' : started ? 'sounds' : 'waits');
  }
}
