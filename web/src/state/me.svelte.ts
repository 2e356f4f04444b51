// Who looks at the page, and what he may do. On this machine alone there is no login, and everything may be done.

import { logout, ROLES, whoAmI, type Me, type Role } from "../api/login";
import { whenLoginIsNeeded } from "../api/http";

const RETRY_MS = 2000;

class MeStore {
  /** None before the server has said it. */
  known = $state.raw<Me | null>(null);
  /** Who was here when the login ran out. */
  was = $state("");
  /** What he could do: what is open stays as it is until he is back. */
  private could = $state<Role | null>(null);
  private is_asking = false;
  private changes = 0;

  is_in = $derived(this.known !== null && (!this.known.login || this.known.role !== null));
  must_change = $derived(this.is_in && this.known?.must_change_password === true);

  begin(): void {
    // Asked, not believed: the answer may be to a request from before he came back.
    whenLoginIsNeeded(() => void this.check());
    void this.ask();
  }

  /** Whether what `role` may do may be done here. */
  may(role: Role): boolean {
    const own = this.known?.role ?? this.could;
    return own !== null && ROLES.indexOf(own) >= ROLES.indexOf(role);
  }

  /** Why something may not be done, in words; empty where it may. `what` as in "start and stop". */
  whyNot(role: Role, what: string): string {
    return this.may(role) ? "" : `Only ${role === "admin" ? "an admin" : "an operator"} may ${what}; you are ${this.could === "viewer" ? "a viewer" : `an ${this.could}`}.`;
  }

  take(me: Me): void {
    this.changes++;
    this.known = me;
    if (me.role === null) return;
    this.could = me.role;
    this.was = me.user ?? "";
  }

  /** Asked whenever the server has hung up: that may have been for want of a login, which may be wanted only now. */
  async check(): Promise<void> {
    if (this.is_in) await this.ask(false);
  }

  async leave(): Promise<void> {
    await logout();
    this.was = "";
    this.could = null;
    this.lose();
  }

  private lose(): void {
    this.changes++;
    if (this.known) this.known = { ...this.known, user: null, role: null, login: true, must_change_password: false };
  }

  private async ask(stubborn = true): Promise<void> {
    if (this.is_asking) return;
    this.is_asking = true;
    const { changes } = this;
    const me = await whoAmI().catch(() => null);
    this.is_asking = false;
    if (changes !== this.changes) return; // he has come or gone meanwhile, and that is newer
    if (me) this.take(me);
    else if (stubborn) setTimeout(() => void this.ask(), RETRY_MS);
  }
}

export const me = new MeStore();
