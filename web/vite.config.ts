import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type ProxyOptions } from "vite";

// While developing, the interface comes from Vite and all else from a running site:
//   FRAMELOOM_URL=http://127.0.0.1:8080 npm run dev
const site = process.env["FRAMELOOM_URL"] ?? "http://127.0.0.1:8080";

// The site takes changes and WebSockets from its own page only: the proxy speaks in that page's name.
const proxy: ProxyOptions = { target: site, changeOrigin: true, ws: true, headers: { origin: site } };

export default defineConfig(({ command }) => ({
  plugins: [svelte()],
  // The server answers "/" with index.html, and everything else of the page below "/static/".
  base: command === "build" ? "/static/" : "/",
  build: {
    outDir: process.env["FRAMELOOM_WEB_OUT"] ?? "../src/frameloom/web/built",
    emptyOutDir: true,
    assetsDir: "",
    assetsInlineLimit: 0,
    target: "es2022",
    // As they are: light-dark() made to fit older browsers would no more follow a dark place on a light page.
    cssTarget: ["chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
  },
  server: {
    host: "127.0.0.1",
    proxy: { "/api": proxy, "^/streams/.*": proxy },
  },
}));
