#!/usr/bin/env python3
"""Writes cultures.txt and zones.txt from Unicode's CLDR.

CLDR's licence is beside this file (UNICODE-LICENSE). Run by hand when CLDR has a new version; the two files are what the program is built from.

    npm pack cldr-core cldr-dates-full cldr-numbers-full   # and unpack each into a folder of its name
    ./cldr.py FOLDER

What .NET shows differs from CLDR in places; each such place is a line below with its reason.
"""
import json
import re
import sys
from pathlib import Path

base = Path(sys.argv[1])
here = Path(__file__).parent


def load(path):
    return json.loads((base / path).read_text(encoding="utf-8"))


core = "cldr-core/"
VERSION = load(core + "supplemental/windowsZones.json")["supplemental"]["version"]["_cldrVersion"]
LEVELS = load(core + "coverageLevels.json")["coverageLevels"]
LIKELY = load(core + "supplemental/likelySubtags.json")["supplemental"]["likelySubtags"]
DEFAULTS = load(core + "defaultContent.json")["defaultContent"]
MONEY = load(core + "supplemental/currencyData.json")["supplemental"]["currencyData"]

# Languages whose countries count years by another calendar in .NET: their dates would be wrong, so they are left out.
OTHER_CALENDARS = {"fa", "th", "ps", "ckb", "lrc", "mzn", "uz-Arab"}
# Bidirectional marks are in CLDR's patterns and symbols; .NET's callers don't expect them in plain text.
MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u061c"))


def pattern(text):
    """CLDR's letters in .NET's spelling."""
    out, quoted = "", False
    for found in re.finditer(r"'|([a-zA-Z])\1*|[^a-zA-Z']", text):
        run = found.group(0)
        if run == "'":
            quoted = not quoted
            out += run
        elif quoted:
            out += run
        elif run in ("EEEE", "cccc"):
            out += "dddd"
        elif run[0] in "Ec":
            out += "ddd"
        elif run[0] == "y":
            out += "yyyy"  # .NET writes whole years
        elif run[0] == "L":
            out += "M" * len(run)
        elif run[0] in "aB":
            out += "tt"
        elif run[0] == "k":
            out += "H" * len(run)
        elif run[0] == "K":
            out += "h" * len(run)
        elif run[0] == "G":
            continue
        else:
            out += run
    # A narrow blank before AM and PM is younger than .NET's documentation, which shows a plain one.
    return out.replace("\u202f", " ").translate(MARKS).strip()


def currency(region):
    """What is paid with in a region today."""
    for entry in MONEY["region"].get(region, []):
        for code, dates in entry.items():
            if "_to" not in dates and dates.get("_tender") != "false":
                return code
    return "XXX"


def names(of, width, context):
    values = of[context][width]
    return "|".join(values[key] for key in (["sun", "mon", "tue", "wed", "thu", "fri", "sat"] if "sun" in values else map(str, range(1, 13))))


def region_of(locale):
    parts = locale.split("-")
    for part in parts[1:]:
        if re.fullmatch(r"[A-Z]{2}|\d{3}", part):
            return part
    return LIKELY.get(locale, LIKELY.get(parts[0], "und-Zzzz-ZZ")).split("-")[2]


def culture(locale):
    dates = load(f"cldr-dates-full/main/{locale}/ca-gregorian.json")["main"][locale]["dates"]["calendars"]["gregorian"]
    numbers = load(f"cldr-numbers-full/main/{locale}/numbers.json")["main"][locale]["numbers"]
    money = load(f"cldr-numbers-full/main/{locale}/currencies.json")["main"][locale]["numbers"]["currencies"]
    if numbers["defaultNumberingSystem"] != "latn":
        return None
    symbols = numbers["symbols-numberSystem-latn"]
    available = dates["dateTimeFormats"]["availableFormats"]
    times = dates["timeFormats"]
    time = lambda width: pattern(times.get(width + "-alt-ascii", times[width]))
    period = dates["dayPeriods"]["format"]["abbreviated"]
    code = currency(region_of(locale))
    standard = numbers["decimalFormats-numberSystem-latn"]["standard"].split(";")[0].split(".")[0]
    sizes = [len(part) for part in standard.split(",")[1:]][::-1]
    percent = numbers["percentFormats-numberSystem-latn"]["standard"].translate(MARKS).split(";")[0]
    price = numbers["currencyFormats-numberSystem-latn"]["standard"].translate(MARKS).split(";")[0]
    # Half the width of CLDR's, as .NET documents ja-JP.
    symbol = money.get(code, {}).get("symbol", code).translate(MARKS).replace("￥", "¥")
    price = re.sub(r"[#0,.]+", "n", price)
    if symbol[-1:].isalpha() and price.startswith("¤n"):
        price = "¤\u00a0n"  # CLDR's spacing between letters and digits
    if symbol[:1].isalpha() and price.endswith("n¤"):
        price = "n\u00a0¤"
    return {
        "days": names(dates["days"], "wide", "stand-alone"),
        "ddd": names(dates["days"], "abbreviated", "stand-alone"),
        "months": names(dates["months"], "wide", "stand-alone"),
        "months_of": names(dates["months"], "wide", "format"),
        "mmm": names(dates["months"], "abbreviated", "stand-alone"),
        "mmm_of": names(dates["months"], "abbreviated", "format"),
        "ampm": (period["am"] + "|" + period["pm"]).replace("\u202f", " "),
        "date": pattern(dates["dateFormats"]["short"]),
        "long": pattern(dates["dateFormats"]["full"]),
        "time": time("short"),
        "seconds": time("medium"),
        "day": pattern(available["MMMMd"] if "MMMMd" in available else available["MMMd"]),
        "month": pattern(available["yMMMM"]),
        "decimal": symbols["decimal"],
        "group": symbols["group"],
        "sizes": "|".join(map(str, sizes or [3])),
        "percent": re.sub(r"[#0,.]+", "n", percent).replace("%", symbols["percentSign"].translate(MARKS)),
        "permille": symbols["perMille"],
        "money": price.replace("¤", symbol),
        "debt": "-" + price.replace("¤", symbol),
        "money_digits": MONEY["fractions"].get(code, MONEY["fractions"]["DEFAULT"])["_digits"],
    }


def aliases(locale):
    """The names that mean this locale: `de` is `de-DE`, `zh-Hant` is `zh-TW`."""
    found = [locale]
    for full in DEFAULTS:
        parts = full.split("-")
        if full == locale + "-" + parts[-1] or "-".join(parts[:-1]) in found:
            found.append(full)
    if locale == "pt":
        found.append("pt-BR")
    for name in list(found) + [LIKELY.get(locale, "")]:
        parts = name.split("-")
        if len(parts) == 3 and len(parts[1]) == 4:
            short = parts[0] + "-" + parts[2]
            if short not in found and LIKELY.get(short, LIKELY.get(parts[0], "")).split("-")[1] == parts[1]:
                found.append(short)
            if name not in found:
                found.append(name)
    found = [name for name in found if name == locale or not (base / f"cldr-dates-full/main/{name}").is_dir()]
    # .NET's older names.
    found += {"nb": ["no", "no-NO"], "zh": ["zh-CHS"], "zh-Hant": ["zh-CHT"]}.get(locale, [])
    return list(dict.fromkeys(found))


locales = sorted(path.name for path in (base / "cldr-dates-full/main").iterdir())
chosen = []
for locale in locales:
    language = locale.split("-")[0]
    script = re.match(r"^[a-z]+-[A-Z][a-z]{3}", locale)
    usual = script and LIKELY.get(language, "").startswith(script.group(0))
    level = LEVELS.get(script.group(0) if script and not usual else language)
    if level == "modern" and not {language, script and script.group(0)} & OTHER_CALENDARS:
        chosen.append(locale)
if "no" in chosen:
    chosen.remove("no")
if "nb" not in chosen:
    chosen.append("nb")

out = [
    f"# Names, patterns and symbols of {{}} cultures, from Unicode's CLDR {VERSION} (Unicode-3.0) by cldr.py. Not written by hand.",
    "# `[name other-name…]` begins one; one with `< name` says only what differs from that.",
]
count, taken = 0, set()
known = {}
for locale in sorted(chosen, key=lambda name: (name.split("-")[0], name.count("-"), name)):
    fields = culture(locale)
    if fields is None:
        continue
    if locale == "en":
        # As .NET documents en-US, which is the default: 1 as "P" is `100.00 %`, -1 as "C" is `($1.00)`.
        fields["percent"], fields["debt"] = "n %", "($n)"
    language = locale.split("-")[0]
    parent = next((name for name in [locale.rsplit("-", 1)[0], language] if name in known), None)
    heads = [name for name in aliases(locale) if name not in taken]
    taken.update(heads)
    known[locale] = fields
    out.append("[" + " ".join(heads) + (f" < {parent}" if parent else "") + "]")
    for key, value in fields.items():
        assert "\n" not in value
        if not parent or known[parent][key] != value:
            out.append(f"{key}={value}")
    count += 1
# Not of CLDR: .NET's CultureInfo.InvariantCulture, which a locale without a name means.
out += """[invariant < en]
date=MM/dd/yyyy
long=dddd, dd MMMM yyyy
time=HH:mm
seconds=HH:mm:ss
day=MMMM dd
month=yyyy MMMM
money=¤n
debt=(¤n)""".splitlines()
out[0] = out[0].format(count)
(here / "cultures.txt").write_text("\n".join(out) + "\n", encoding="utf-8")

zones = load(core + "supplemental/windowsZones.json")["supplemental"]["windowsZones"]["mapTimezones"]
lines = [f"# Windows' names of time zones and the IANA zone of each, from Unicode's CLDR {VERSION} (Unicode-3.0) by cldr.py. Not written by hand."]
for zone in zones:
    zone = zone["mapZone"]
    if zone["_territory"] == "001":
        lines.append(f"{zone['_other']}={zone['_type'].split()[0]}")
# Windows still has these two, and CLDR does not.
lines += ["Kamchatka Standard Time=Asia/Kamchatka", "Mid-Atlantic Standard Time=Etc/GMT+2"]
(here / "zones.txt").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
print(count, "cultures,", len(lines) - 1, "zones")
