"""`ouvert completion SHELL`: what makes a shell complete commands and names of models."""

import argparse

SUMMARY = "Print what makes your shell complete commands and names of models."

# Where each shell looks, so that the answer can be followed by copying one line.
INSTALL = {
    "bash": 'add to ~/.bashrc:  eval "$(ouvert completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit:  eval "$(ouvert completion zsh)"',
    "fish": "run once:  ouvert completion fish > ~/.config/fish/completions/ouvert.fish",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"{shell:>6}: {line}" for shell, line in INSTALL.items())
    parser.add_argument("shell", choices=list(INSTALL), help="the shell to complete in")


def run(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(f"# {args.shell}: {INSTALL[args.shell]}")
    print(shellcode(["ouvert"], shell=args.shell))
    return 0
