// Where in the interface we are. The address holds all of it, so that it can be shared: #/stream/hall?hide=motion

export interface Route {
  place: string;
  name: string;
  options: URLSearchParams;
}

export function routeOf(hash: string): Route {
  const [path = "", options = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [place = "", name = ""] = path.split("/", 2);
  return { place: place || "live", name: decoded(name), options: new URLSearchParams(options) };
}

export function hashOf({ place, name, options }: Route): string {
  const path = name ? `${place}/${encodeURIComponent(name)}` : place;
  const text = options.toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

class Router {
  route = $state.raw<Route>(routeOf(location.hash));

  constructor() {
    addEventListener("hashchange", () => (this.route = routeOf(location.hash)));
  }

  option(name: string): string {
    return this.route.options.get(name) ?? "";
  }

  /** Say in the address where we are, without a step in the history. */
  replace(route: Route): void {
    if (hashOf(route) === hashOf(this.route)) return;
    this.route = route;
    history.replaceState(null, "", hashOf(route));
  }

  /** Remember a choice in the address, without a step in the history; an empty one is taken out. */
  choose(name: string, value: string): void {
    const options = new URLSearchParams(this.route.options);
    if (value) options.set(name, value);
    else options.delete(name);
    this.replace({ ...this.route, options });
  }
}

export const router = new Router();
