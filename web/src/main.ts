import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { store } from "./state/site.svelte";

store.follow();
mount(App, { target: document.getElementById("app")! });
