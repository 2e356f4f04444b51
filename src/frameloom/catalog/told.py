"""Rows of the index as JSON: what the HTTP interface and the command line tell, in the same words."""

from __future__ import annotations

from typing import Any

from frameloom.model.clock import NS_PER_S

from .rows import EventRow, SegmentRow, Summary


def summary_json(row: Summary) -> dict[str, Any]:
    """All recordings of a camera."""
    return {
        "name": row.camera,
        "segments": row.segments,
        "bytes": row.bytes,
        "seconds": row.length_ns / NS_PER_S,
        "first_utc_ns": row.first_ns,
        "last_utc_ns": row.last_ns,
    }


def segment_json(row: SegmentRow) -> dict[str, Any]:
    """One recording, without its place on the disk."""
    return {
        "id": row.id,
        "begin_utc_ns": row.begin_ns,
        "end_utc_ns": row.end_ns,
        "bytes": row.bytes,
        "codec": row.codec,
        "mime": row.mime,
        "width": row.width,
        "height": row.height,
        "frames": row.frames,
        "state": row.state,
        "has_results": row.has_results,
    }


def event_json(row: EventRow) -> dict[str, Any]:
    """One event."""
    return {
        "id": row.id,
        "camera": row.camera,
        "processor": row.processor,
        "name": row.name,
        "at_utc_ns": row.at_ns,
        "end_utc_ns": row.end_ns,
        "values": dict(row.values),
    }
