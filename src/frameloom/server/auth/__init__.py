"""Who calls, and whether he may: before any resource is asked.

`rules` says what each resource needs, `access` who calls, `gate` lets in or refuses, `logins` checks passwords, and
`routes` are the resources for all that. What is kept of users belongs to `frameloom.accounts`.
"""
