// That somebody here has ended the site: the page says so until it runs again.

class Ending {
  /** Since when, ms since 1970; null while it runs. */
  since_ms = $state<number | null>(null);
  /** What starts it again. */
  command = $state("");
}

export const ending = new Ending();
