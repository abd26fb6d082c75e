import { mount } from 'svelte';
import '../lib/theme.css';
import './autopsy.css';
import App from './App.svelte';

const target = document.getElementById('page');
if (target) mount(App, { target });
