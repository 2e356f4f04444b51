import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { me } from "./state/me.svelte";

me.begin();
mount(App, { target: document.getElementById("app")! });
