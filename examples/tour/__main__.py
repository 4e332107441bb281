"""What a program that uses the tasks does: ``python examples/tour`` beside a running worker."""

from __future__ import annotations

from tour import add, crash, divide, greet


def say(text: str) -> None:
    """Print what comes next, as a comment."""
    print(f"\n# {text}", flush=True)


def show(code: str, answer: object = None) -> None:
    """Print a line of code as Python would, and what it gave."""
    print(f">>> {code}", flush=True)
    if answer is not None:
        print(answer, flush=True)


def main() -> None:
    show("from tour import add, crash, divide, greet")

    say("A task is sent once it is stored in celeriac.db; no worker is waited for.")
    total = add.delay(2, 3)
    show("result = add.delay(2, 3)")
    show("result", repr(total))
    say("get() waits for the worker.")
    show("result.get(timeout=30)", total.get(timeout=30))

    say("A task that fails there, fails here too.")
    quotient = divide.delay(1, 0)
    show("result = divide.delay(1, 0)")
    try:
        quotient.get(timeout=30)
    except ZeroDivisionError as error:
        show("result.get(timeout=30)", f"ZeroDivisionError: {error}")
    show("result.state", repr(quotient.state))

    say("async def tasks are called in the same way.")
    greetings = [greet.delay(name) for name in ("Ada", "Alan")]
    show('results = [greet.delay("Ada"), greet.delay("Alan")]')
    show("[r.get(timeout=30) for r in results]", [r.get(timeout=30) for r in greetings])

    say("This task kills its own process with SIGKILL.  It is not lost: it is run again.")
    survivor = crash.delay()
    show("crash.delay().get(timeout=30)", repr(survivor.get(timeout=30)))


if __name__ == "__main__":
    main()
