"""A program whose lines coverage counts in its children."""

import multiprocessing


def parent_only() -> None:
    print("parent")


def child_only(number: int) -> int:
    if number > 1:
        return number * 2
    return number


if __name__ == "__main__":
    parent_only()
    with multiprocessing.Pool(2) as pool:
        print(pool.map(child_only, range(4), chunksize=1))
        pool.close()
        pool.join()
    child = multiprocessing.Process(target=child_only, args=(1,))
    child.start()
    child.join()
    print(child.exitcode)
