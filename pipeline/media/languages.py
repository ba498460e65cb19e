"""Languages of streams as containers can tell them: QuickTime knows a list, the others any code."""

from __future__ import annotations

UNKNOWN = "und"
_BIBLIOGRAPHIC = {
    "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi",
    "fas": "per", "eus": "baq", "mkd": "mac", "msa": "may", "mya": "bur", "hye": "arm",
    "sqi": "alb", "kat": "geo", "cze": "ces", "slo": "slk", "rum": "ron",
}  # fmt: skip
"""Codes of ISO 639-2 -> the code that FFmpeg's QuickTime muxer writes for the same language."""
# fmt: off
_QUICKTIME = frozenset(_BIBLIOGRAPHIC.values()) | {
    "eng", "fra", "ita", "spa", "dan", "por", "nor", "heb", "jpn", "ara",
    "fin", "mlt", "tur", "urd", "hin", "tha", "kor", "lit", "pol", "hun",
    "est", "lav", "rus", "slv", "bul", "ukr", "cat", "vie", "ind", "tgl",
}
# fmt: on


def told(muxer: str, language: str) -> str:
    """Return the code by which a muxer keeps `language`; `und` where it cannot."""
    if muxer != "mov" or language in ("", UNKNOWN):
        return language
    known = _BIBLIOGRAPHIC.get(language, language)
    return known if known in _QUICKTIME else UNKNOWN


def same(one: str, other: str) -> bool:
    """Tell whether two codes mean one language; none and `und` both say that it is unknown."""
    a, b = (_BIBLIOGRAPHIC.get(code, code) or UNKNOWN for code in (one, other))
    return a == b
