"""Says in a sentence what this machine lacks for gradlens' environment; runs on any Python."""

import sys


def main():
    """Exit with a sentence, or with 0 where nothing lacks."""
    if sys.version_info < (3, 11):
        version = ".".join(str(part) for part in sys.version_info[:3])
        return (
            "gradlens needs Python 3.11 or newer; this one is " + version + ". "
            "Install a newer one and name it: make demo PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return (
            "this Python cannot make environments (no module " + str(error.name) + "). "
            "On Debian or Ubuntu: apt-get install python3-venv"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
