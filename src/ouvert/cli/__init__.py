"""The command. The only reader of environment variables."""


def main() -> int:
    return 0
