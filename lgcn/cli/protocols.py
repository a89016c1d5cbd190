"""``lgcn protocols``: the evaluation protocols and everything that each defines, as a table."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="also describe these protocols and name their sources")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    form.add_argument("--json", action="store_true", help="print all fields as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table; return the exit status."""
    import json
    import textwrap
    from dataclasses import asdict

    from lgcn.evaluation.text_tables import align, markdown_table
    from lgcn.protocols import PROTOCOLS, get_protocol

    protocols = [get_protocol(name) for name in dict.fromkeys(args.names) or PROTOCOLS]
    if args.json:
        print(json.dumps([asdict(protocol) for protocol in protocols], indent=2))
        return 0
    table = [["name", *protocols[0].facts()]]
    table += [[protocol.name, *protocol.facts().values()] for protocol in protocols]
    if args.markdown:
        quoted = [[f"`{name}`", *facts] for name, *facts in table[1:]]
        print(markdown_table(table[0], quoted, left=len(table[0])))
        return 0
    print("\n".join(align(table, left=len(table[0]))))
    for protocol in protocols if args.names else ():
        print(f"\n{protocol.name}")
        for words in (protocol.description, f"source: {protocol.source}"):
            print(textwrap.fill(words, 100, initial_indent="  ", subsequent_indent="  "))
    return 0
