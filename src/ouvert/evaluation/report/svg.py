"""Charts as SVG inside a page: small, without a name or a rule that reaches beyond them, in two languages at once."""

import re
from collections import Counter
from html import escape

from ouvert.evaluation.report.visible import one_line

LONG = re.compile(r"-?\d+\.\d{2,}")  # a number with more digits than a screen shows
TEXT = re.compile(r"(<text[^>]*>.*?</text>)", re.DOTALL)
# Colours that charts are drawn with, and the page's names for them: they follow dark mode and print.
INKS = {"#010101": "ink", "#020202": "faint", "#030303": "grid", "#040404": "paper"} | {
    f"#0a0a{place:02x}": f"c{place}" for place in range(8)
}


def compact(svg: str, name: str) -> str:
    """matplotlib's SVG from its <svg> on: no metadata, no style for the whole page, names of its own, short numbers,
    colours by the page's names. Raises nothing for what matplotlib writes."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)
    svg = re.sub(r"<[^>]*>", lambda tag: LONG.sub(shorter, tag[0]), svg)
    svg = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"; font-family: [^;\"]*", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", svg)
    for colour, ink in INKS.items():
        svg = svg.replace(colour, f"var(--{ink})")
    return without_unused_names(svg, name)


def with_shared_styles(svg: str, name: str) -> str:
    """Styles that stand three times or more are said once, in classes that begin with the chart's name."""
    counts = Counter(re.findall(r' style="([^"]+)"', svg))
    shared = [style for style, count in counts.items() if count >= 3]
    names = {style: f"{name[:1]}{place}" for place, style in enumerate(shared)}
    svg = re.sub(
        r' style="([^"]+)"', lambda found: f' class="{names[found[1]]}"' if found[1] in names else found[0], svg
    )
    rules = "".join(f".{names[style]}{{{style}}}" for style in shared)
    return re.sub(r"(<svg[^>]*>)", rf"\1<style>{rules}</style>", svg, count=1) if shared else svg


def shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def without_unused_names(svg: str, name: str) -> str:
    """Names that nothing refers to are left out; the others begin with the chart's, so that no two charts share one."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    names = {each: f"{name}-{place}" for place, each in enumerate(sorted(used))}
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", svg)
    svg = re.sub(r'(href="#|url\(#)([^")]+)', lambda found: found[1] + names[found[2]], svg)
    svg = re.sub(r">\s+<", "><", svg).replace("xlink:href", "href")
    for _ in range(3):  # groups without a name around one thing, and within another
        svg = re.sub(r"<g>((?:<(?:use|path)[^>]*/>|<defs><path[^>]*/></defs>)*)</g>", r"\1", svg)
    return re.sub(r"\s*\n\s*", " ", re.sub(r"; ?(?=\")", "", svg)).replace(": ", ":").replace("; ", ";")


def merge(english: str, french: str, name: str, descriptions: tuple[str, str]) -> str:
    """One SVG that says its texts in both languages: those that differ stand twice, each with its `lang`. Raises
    ValueError for two charts that differ in more than texts."""
    parts = TEXT.split(english), TEXT.split(french)
    if parts[0][::2] != parts[1][::2]:
        raise ValueError(f"writing the chart {name}: the English and the French one differ in more than their texts.")
    pieces = [
        en if en == fr else en.replace("<text", '<text lang="en"', 1) + fr.replace("<text", '<text lang="fr"', 1)
        for en, fr in zip(*parts, strict=True)
    ]
    titles = "".join(
        f'<title lang="{language}">{escape(one_line(text))}</title>'
        for language, text in zip(("en", "fr"), descriptions, strict=True)
    )
    head, tail = with_shared_styles("".join(pieces), name).split(">", 1)
    return f"{head}>{titles}{tail}"
