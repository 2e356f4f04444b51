// Who is here, who may be, and with what right (docs/http.md, "Login").

import { request } from "./http";

export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface Me {
  user: string | null;
  /** None where nobody has signed in yet. */
  role: Role | null;
  /** Whether this server wants a login at all. */
  login: boolean;
  must_change_password: boolean;
}

export interface User {
  name: string;
  role: Role;
  must_change_password: boolean;
}

export interface Token {
  id: string;
  name: string;
  /** Whose it is; null: the site's. */
  user: string | null;
  role: Role;
  last_used_utc_ns: number | null;
}

export const whoAmI = (): Promise<Me> => request("GET", "/api/me");
export const login = (user: string, password: string): Promise<Me> => request("POST", "/api/login", { user, password });
export const logout = (): Promise<unknown> => request("POST", "/api/logout");
export const changePassword = (old: string, next: string): Promise<Me> => request("POST", "/api/password", { old, new: next });

const userPath = (name: string): string => `/api/users/${encodeURIComponent(name)}`;

export const users = async (): Promise<User[]> => (await request<{ users: User[] }>("GET", "/api/users")).users;
/** The server makes a first password, and tells it this once. */
export const addUser = (name: string, role: Role): Promise<User & { one_time_password: string }> => request("POST", "/api/users", { name, role });
export const changeUser = (name: string, changes: { role: Role }): Promise<unknown> => request("PATCH", userPath(name), changes);
export const removeUser = (name: string): Promise<unknown> => request("DELETE", userPath(name));

export const tokens = async (): Promise<Token[]> => (await request<{ tokens: Token[] }>("GET", "/api/tokens")).tokens;
export const addToken = (name: string, role: Role): Promise<{ token: string }> => request("POST", "/api/tokens", { name, role });
export const removeToken = (id: string): Promise<unknown> => request("DELETE", `/api/tokens/${encodeURIComponent(id)}`);
