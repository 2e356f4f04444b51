// Dark, light, or as the system says.

export const THEMES = ["system", "dark", "light"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "frameloom.theme";

class ThemeStore {
  chosen = $state<Theme>(stored());

  constructor() {
    this.apply();
  }

  next(): void {
    this.choose(THEMES[(THEMES.indexOf(this.chosen) + 1) % THEMES.length]!);
  }

  choose(theme: Theme): void {
    this.chosen = theme;
    localStorage.setItem(KEY, theme);
    this.apply();
  }

  private apply(): void {
    document.documentElement.dataset["theme"] = this.chosen;
  }
}

function stored(): Theme {
  const value = localStorage.getItem(KEY) as Theme | null;
  return value && THEMES.includes(value) ? value : "system";
}

export const theme = new ThemeStore();
