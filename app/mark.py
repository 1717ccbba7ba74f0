"""The mark of the page's title and of empty conversations."""

from __future__ import annotations

EYE = (
    '<svg class="lt-eye" viewBox="0 0 32 32" aria-hidden="true">'
    '<path d="M2.5 16S7.5 6.5 16 6.5 29.5 16 29.5 16 24.5 25.5 16 25.5 2.5 16 2.5 16Z"/>'
    '<circle cx="16" cy="16" r="4.6"/></svg>'
)
