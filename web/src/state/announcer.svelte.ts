// What has just been done, for those who do not see it: said once, politely.

class Announcer {
  said = $state("");

  say(text: string): void {
    this.said = this.said === text ? `${text}\u00a0` : text; // the same words again are to be said again
  }
}

export const announcer = new Announcer();
