"""joblib's backend of multiprocessing pools."""

from math import sqrt

from joblib import Parallel, delayed


def fail(number: int) -> int:
    raise LookupError(f"task {number}")


if __name__ == "__main__":
    print(Parallel(n_jobs=2, backend="multiprocessing")(delayed(sqrt)(number**2) for number in range(10)))
    try:
        Parallel(n_jobs=2, backend="multiprocessing")(delayed(fail)(number) for number in range(2))
    except LookupError as error:
        print("failed:", type(error).__name__)
