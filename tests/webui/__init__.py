"""Tests of the browser's side in web/."""
