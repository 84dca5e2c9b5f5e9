"""What goes wrong in a benchmark, as one sentence. Imported in every environment, so it needs nothing."""


class BenchmarkError(Exception):
    """What was wrong, where, and what would be right. The command line prints it and exits 2."""


class Refused(BenchmarkError):
    """A system cannot run a case. The sentence stands in the table in place of a number."""


def first_sentence(error: BaseException) -> str:
    """The type and the first line of any exception that says more than where it came from, short enough for a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]
    said = (telling or lines or ["without a message"])[0]
    name = "" if isinstance(error, BenchmarkError) else f"{type(error).__name__}: "
    return (name + said)[:400]
