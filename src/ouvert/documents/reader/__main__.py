"""`python -m ouvert.documents.reader read ENDING` and `picture PAGE WORDS NTH`: a file goes in, JSON or PNG out.

It ends with 0, or with 3 and a sentence on stderr where the file cannot be read, 5 where it has no such page.
"""

import sys
import zipfile

from ouvert.documents.reader.kinds import KINDS
from ouvert.documents.reader.pdf import NoSuchPageError, picture

UNREADABLE = 3
MISSING = 4  # a library of the extra
NO_SUCH_PAGE = 5


def main(arguments: list[str]) -> int:
    data = sys.stdin.buffer.read()
    try:
        match arguments:
            case ["read", ending]:
                out = KINDS[ending](data).as_json().encode("ascii")
            case ["picture", page, words, nth]:
                out = picture(data, int(page), words, int(nth))
            case _:
                raise ValueError(
                    f"the reader was asked {arguments!r:.80}, expected read ENDING or picture PAGE WORDS NTH"
                )
    except ModuleNotFoundError as problem:
        print(problem.name, file=sys.stderr)
        return MISSING
    except NoSuchPageError as problem:
        print(problem, file=sys.stderr)
        return NO_SUCH_PAGE
    except Exception as problem:  # a library met what it did not foresee: the file is not read, and that is said
        damaged = isinstance(problem, zipfile.BadZipFile | KeyError)
        reason = "it is damaged, or is not what its name says" if damaged else f"{problem!s:.300}"
        print(reason or type(problem).__name__, file=sys.stderr)
        return UNREADABLE
    sys.stdout.buffer.write(out)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
