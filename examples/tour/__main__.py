"""What a program that uses the tasks does: ``python examples/tour`` beside a running worker."""

from __future__ import annotations

from tour import add, divide, greet


def show(code: str, answer: object = None, remark: str = "") -> None:
    """Print a line of code as Python would, what it gave, and a remark."""
    print(f">>> {code:<52}{'# ' + remark if remark else ''}".rstrip(), flush=True)
    if answer is not None:
        print(answer, flush=True)


def main() -> None:
    sum_ = add.delay(2, 3)
    show("result = add.delay(2, 3)", remark="stored in celeriac.db; does not wait for a worker")
    show("result", repr(sum_))
    show("result.get(timeout=30)", sum_.get(timeout=30), "waits for the worker")
    print()

    quotient = divide.delay(1, 0)
    show("result = divide.delay(1, 0)", remark="a task that fails ...")
    try:
        quotient.get(timeout=30)
    except ZeroDivisionError as error:
        show("result.get(timeout=30)", f"ZeroDivisionError: {error}", "... fails here, too")
    show("result.state", repr(quotient.state))
    print()

    greetings = [greet.delay(name) for name in ("Ada", "Alan")]
    show('results = [greet.delay("Ada"), greet.delay("Alan")]', remark="async def tasks, as easily")
    show("[r.get(timeout=30) for r in results]", [r.get(timeout=30) for r in greetings])


if __name__ == "__main__":
    main()
