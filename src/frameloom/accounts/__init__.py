"""Who may use a site: users with their roles, tokens for programs, and sessions of browsers, in one file per site.

How they come in (headers, cookies, status codes) belongs to `frameloom.server.auth`.
"""
