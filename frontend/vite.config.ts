// Builds the four pages into dist/, which the owner serves.  `npm run build`; master_script.sh does it at installation.
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export default defineConfig({
  // Relative, so that the pages also work behind a proxy that serves them under a path of its own.
  base: './',
  plugins: [svelte()],
  build: {
    target: 'es2022',
    sourcemap: false,
    chunkSizeWarningLimit: 1500, // three.js and Tone.js are large, but come from a computer in the same network
    rolldownOptions: {
      input: { index: here('index.html'), stage: here('stage.html'), desk: here('desk.html'), autopsy: here('autopsy.html') },
    },
  },
});
