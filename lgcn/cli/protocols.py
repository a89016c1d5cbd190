"""``lgcn protocols``: the named protocols and all that each fixes, as a table."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="also say in words what these do and where it is from")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="a table of Markdown")
    form.add_argument("--json", action="store_true", help="all fields as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the table; the exit status."""
    import json
    import textwrap
    from dataclasses import asdict

    from lgcn.protocols import PROTOCOLS, get_protocol

    protocols = [get_protocol(name) for name in dict.fromkeys(args.names) or PROTOCOLS]
    if args.json:
        print(json.dumps([asdict(protocol) for protocol in protocols], indent=2))
        return 0
    table = [["name", *protocols[0].facts()]]
    table += [[protocol.name, *protocol.facts().values()] for protocol in protocols]
    if args.markdown:
        quoted = [[f"`{name}`", *facts] for name, *facts in table[1:]]
        print("\n".join(f"| {' | '.join(row)} |" for row in [table[0], len(table[0]) * ["---"], *quoted]))
        return 0
    from lgcn.evaluation.formatting import align

    print("\n".join(align(table, left=len(table[0]))))
    for protocol in protocols if args.names else ():
        print(f"\n{protocol.name}")
        for words in (protocol.description, f"from: {protocol.source}"):
            print(textwrap.fill(words, 100, initial_indent="  ", subsequent_indent="  "))
    return 0
