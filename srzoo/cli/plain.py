"""Text of strangers, made safe to print."""


def plain(text: str) -> str:
    r"""One line in which what cannot be printed is spelled out: control characters could steer the terminal, or lie.

    Examples:
        >>> print(plain("été\x1b]0;title\x07\nmodel: fake"))
        été\x1b]0;title\x07\nmodel: fake
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def plain_lines(text: str) -> str:
    r"""The same for a text that may have several lines, such as an error that lists problems.

    Examples:
        >>> plain_lines("two problems:\n- a\x1b[2J")
        'two problems:\n- a\\x1b[2J'
    """
    return "\n".join(map(plain, text.split("\n")))
