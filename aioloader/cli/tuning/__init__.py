"""``aioloader tune``: a user's own data measured, and the settings that come of it."""
