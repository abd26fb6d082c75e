import '@fontsource-variable/literata/wght-italic.css';
import { mount } from 'svelte';
import '../lib/theme.css';
import './visitor.css';
import App from './App.svelte';
import { blockMenusAndDragging } from './kiosk';

blockMenusAndDragging();
const target = document.getElementById('page');
if (target) mount(App, { target });
