"""Match, guess and format view names with templates such as `view_{row:02}_{col:02}`.

The known templates cover the Stanford gantry, HCI, JPEG Pleno, BasicLFSR, plenopticam and this
pipeline; other templates are guessed from the two numbers that vary between the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError

# Templates without their endings. In Stanford's names, the third number is the camera's position
# along the column (y), and the fourth its position along the row (x).
KNOWN = (
    "view_{row}_{col}",
    "View_{row}_{col}",
    "out_{row}_{col}_{y}_{x}_",
    "out_{row}_{col}_{y}_{x}",
    "im_t{row}_s{col}",
    "im_t{row}_s{col}_*",
    "input_Cam{index}",
    "{row}_{col}",
)
# Templates for videos, one per camera.
CAMERAS = ("cam{index}", "camera_{index}", "cam_{index}", "cam{row}_{col}", *KNOWN)
DEFAULT = "view_{row:02}_{col:02}.png"
# Minimum share of the grid that files must fill for a folder to be detected as a light field.
FILLED = 0.6
LEAST_VIEWS = 4  # a folder with fewer views is a light field only if the settings describe one

# A field, optionally with the width to which its number is padded with zeros or spaces.
_FIELD = re.compile(r"\{(row|col|index|x|y)(?::(0?)([0-2]?\d|3[0-2]))?\}")
_COUNT = r"\d{1,9}"
_PLACE = r"-?[\d.]{1,20}"
_PATTERNS = {"row": _COUNT, "col": _COUNT, "index": _COUNT, "x": _PLACE, "y": _PLACE}
# Characters that no field can match: without them in between, fields could match in many ways.
_SEPARATOR = re.compile(r"[^\d.*-]")
_LONGEST = 255
_MOST_TOGETHER = 2  # maximum number of fields and wildcards in a row without a separator


@dataclass(frozen=True)
class ViewName:
    """The numbers in a file's name: row and column, or an index, and perhaps the camera's position.

    `x` is the camera's position along the row, and `y` along the column. Numbers for which the
    template has no field are None.
    """

    row: int | None
    col: int | None
    index: int | None
    x: float | None
    y: float | None


def compile_template(template: str) -> re.Pattern[str]:
    """Return the regular expression for a template without its ending; case is ignored.

    Raises InputError if the template does not identify views, or is not a valid name with fields.
    """
    fields = [field[1] for field in _FIELD.finditer(template)]
    if not ({"row", "col"} <= set(fields) or "index" in fields) or len(set(fields)) < len(fields):
        raise InputError(
            f"the template '{template}' does not identify views; expected {{row}} and {{col}}, or "
            "{index}, each once; try 'view_{row:02}_{col:02}'"
        )

    _check_grammar(template)
    pattern = ""
    at = 0
    for field in _FIELD.finditer(template):
        pattern += _escape_text(template[at : field.start()])
        pattern += f"(?P<{field[1]}>{_PATTERNS[field[1]]})"
        at = field.end()

    return re.compile(pattern + _escape_text(template[at:]), re.IGNORECASE)


def _escape_text(text: str) -> str:
    """Return the regular expression for text between fields, in which * is a wildcard."""
    return re.escape(text).replace(r"\*", ".{0,255}")


def _check_grammar(template: str) -> None:
    """Raise InputError unless a template is a plain file name with few adjacent fields.

    Templates may come from an untrusted sidecar or plan, and could be paths, or match slowly.
    """
    text = _FIELD.sub("", template)
    parts = _SEPARATOR.split(_FIELD.sub("*", template))
    together = max(part.count("*") for part in parts)
    is_plain = not set(text) & set("{}/\0") and len(template) <= _LONGEST
    if not is_plain or text.count("*") > 1 or together > _MOST_TOGETHER:
        raise InputError(
            f"the template '{template}' is not valid; expected a file name of at most {_LONGEST} "
            "characters, with fields such as {row}, {row:02} and {col}, at most one *, and at most "
            "two fields or * in a row without a character such as _ between them (digits, . and - "
            "do not count); try 'view_{row:02}_{col:02}'"
        )


def match_names(template: str, stems: Sequence[str]) -> dict[str, ViewName]:
    """Map each stem that matches the template to the numbers in it."""
    pattern = compile_template(template)
    found = {}
    for stem in stems:
        match = pattern.fullmatch(stem)
        if match is None:
            continue

        groups = match.groupdict()
        whole = {name: int(text) for name, text in groups.items() if name not in "xy"}
        real = {name: _parse_number(text) for name, text in groups.items() if name in "xy"}
        found[stem] = ViewName(
            whole.get("row"), whole.get("col"), whole.get("index"), real.get("x"), real.get("y")
        )

    return found


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def guess_template(stems: Sequence[str], known: Sequence[str] = KNOWN) -> str | None:
    """Return a template that matches the stems; None if they do not identify views.

    The first known template that matches more than half of the stems is chosen. If there is none, a
    template is guessed from the most common pattern, in which two numbers must vary; other numbers
    are kept as text.
    """
    for template in known:
        if 2 * len(match_names(template, stems)) > len(stems):
            return template
    return _guess_from_digits(stems)


def _guess_from_digits(stems: Sequence[str]) -> str | None:
    """Return a template for stems in which two numbers vary; None if more or fewer vary."""
    skeletons: dict[str, list[list[str]]] = {}
    for stem in stems:
        skeletons.setdefault(re.sub(r"\d+", "#", stem), []).append(re.findall(r"\d+", stem))
    if not skeletons:
        return None

    skeleton, numbers = max(skeletons.items(), key=lambda item: len(item[1]))
    columns = list(zip(*numbers, strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 2 or set(skeleton) & set("{}*"):
        return None

    parts = skeleton.split("#")
    text = parts[0]
    for number, (column, part) in enumerate(zip(columns, parts[1:], strict=True)):
        text += ["{row}", "{col}"][varying.index(number)] if number in varying else column[0]
        text += part
    return text


def guess_counter(stems: Sequence[str]) -> str | None:
    """Return a template with {index} if the names differ in just one number, else None."""
    if len({re.sub(r"\d+", "#", stem) for stem in stems}) != 1:
        return None

    columns = list(zip(*(re.findall(r"\d+", stem) for stem in stems), strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or set(stems[0]) & set("{}*"):
        return None

    texts = re.split(r"\d+", stems[0])
    fields = [column[0] for column in columns]
    fields[varying[0]] = "{index}"
    template = texts[0] + "".join(f + text for f, text in zip(fields, texts[1:], strict=True))
    return pad_template(template, stems)


def pad_template(template: str, stems: Sequence[str]) -> str:
    """Return the template with a width for each field whose numbers all have that many digits.

    A width of 1 is left out.
    """
    pattern = compile_template(template)
    widths: dict[str, set[int]] = {}
    for stem in stems:
        if match := pattern.fullmatch(stem):
            for name in ("row", "col", "index"):
                if name in match.groupdict():
                    widths.setdefault(name, set()).add(len(match[name]))

    for name, seen in widths.items():
        if len(seen) == 1 and (width := seen.pop()) > 1:
            template = template.replace(f"{{{name}}}", f"{{{name}:0{width}}}")
    return template


def format_view_name(template: str, row: int, col: int, index: int) -> str:
    """Return a view's file name, made from a template.

    Raises InputError if the template has {x}, {y} or a wildcard, which can only match existing
    names, or if it does not identify views.
    """
    fields: Mapping[str, int] = {"row": row, "col": col, "index": index}
    if {field[1] for field in _FIELD.finditer(template)} & {"x", "y"} or "*" in template:
        raise InputError(
            f"the template '{template}' cannot name new files; expected only the fields {{row}}, "
            f"{{col}} and {{index}}, and no *; try '{DEFAULT}'"
        )

    compile_template(template)

    def put(field: re.Match[str]) -> str:
        fill = "0" if field[2] else " "
        return str(fields[field[1]]).rjust(int(field[3] or 0), fill)

    return _FIELD.sub(put, template)
