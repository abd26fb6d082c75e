// ESLint for the pages: the recommended rules of JavaScript, TypeScript and Svelte, and the house's rule on names.  `npm run lint`.
import js from '@eslint/js';
import svelte from 'eslint-plugin-svelte';
import { defineConfig } from 'eslint/config';
import typescript from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

export default defineConfig(
  { ignores: ['dist/', 'dist.new/', 'node_modules/'] },
  js.configs.recommended,
  typescript.configs.recommended,
  svelte.configs.recommended,
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { extraFileExtensions: ['.svelte'], parser: typescript.parser, svelteConfig } },
  },
  {
    rules: {
      // svelte-check knows every name, the browser's included; this rule would need a list of them.
      'no-undef': 'off',
      // These say nothing about what they hold.
      'id-denylist': ['error', 'one', 'said', 'told', 'found', 'mine', 'theirs', 'news'],
    },
  },
);
