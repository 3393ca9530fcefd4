"""Whether a JSON value has the fields that a vendor's page lists, and no others.

A shape is `str`, `int`, `float` (any number), `bool`, `dict` or `list` (of whatever), a set (one of these values), `[shape]` (a list of
these), a tuple (any of these shapes), or an object `{"name": shape}`, where "name!" must be there. Fields that no page names are
problems too: most vendors pass over them in silence, and a misspelt one would go unseen.
"""


def problems(value, shape, at=""):
    """What is wrong with the value, each as (path, what); an empty list if nothing is."""
    if isinstance(shape, tuple):
        tried = [problems(value, one, at) for one in shape]
        return [] if [] in tried else tried[0]
    if isinstance(shape, set):
        return [] if value in shape else [(at, f"is none of {', '.join(sorted(map(str, shape)))}")]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [(at, "is not a list")]
        return [problem for index, item in enumerate(value) for problem in problems(item, shape[0], f"{at}[{index}]")]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [(at, "is not an object")]
        known = {name.rstrip("!"): (one, name.endswith("!")) for name, one in shape.items()}
        dot = f"{at}." if at else ""
        found = [(dot + name, "is missing") for name, (_, needed) in known.items() if needed and name not in value]
        found += [(dot + name, "is not known") for name in value if name not in known]
        for name, one in value.items():
            if name in known:
                found += problems(one, known[name][0], dot + name)
        return found
    if shape is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif shape is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = isinstance(value, shape)
    return [] if good else [(at, f"is not of type {shape.__name__}")]
