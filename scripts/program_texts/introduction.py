"""In the shape of the documentation's introduction: one function for each of its examples."""

import logging
import multiprocessing
import os
import sys
import time
from multiprocessing import Array, Lock, Manager, Pipe, Pool, Process, Queue, TimeoutError, Value


def square(x):
    return x * x


def greet(name):
    print("hello", name, flush=True)


def tell(title, parents_pid):
    print(title, "module", __name__, os.getppid() == parents_pid or "another parent", flush=True)


def put(queue):
    queue.put([42, None, "hello"])


def send(connection):
    connection.send([42, None, "hello"])
    connection.close()


def count(lock, i):
    with lock:
        print("hello world", i, flush=True)


def change(number, array):
    number.value = 3.1415927
    for i in range(len(array)):
        array[i] = -array[i]


def fill(dictionary, items):
    dictionary[1] = "1"
    dictionary["2"] = 2
    dictionary[0.25] = None
    items.reverse()


def processes():
    with Pool(5) as pool:
        print(pool.map(square, [1, 2, 3]))
    child = Process(target=greet, args=("bob",))
    child.start()
    child.join()
    child = Process(target=tell, args=("child", os.getpid()))
    child.start()
    child.join()


def channels():
    queue = Queue()
    child = Process(target=put, args=(queue,))
    child.start()
    print(queue.get())
    child.join()
    ours, theirs = Pipe()
    child = Process(target=send, args=(theirs,))
    child.start()
    print(ours.recv())
    child.join()


def locks():
    lock = Lock()
    for number in range(5):
        child = Process(target=count, args=(lock, number))
        child.start()
        child.join()


def shared():
    number, array = Value("d", 0.0), Array("i", range(10))
    child = Process(target=change, args=(number, array))
    child.start()
    child.join()
    print(number.value, array[:])
    with Manager() as manager:
        dictionary, items = manager.dict(), manager.list(range(10))
        child = Process(target=fill, args=(dictionary, items))
        child.start()
        child.join()
        print(dictionary, items)


def pools():
    with Pool(processes=4) as pool:
        print(pool.map(square, range(10)))
        print(sorted(pool.imap_unordered(square, range(10))))
        print(pool.apply_async(square, (20,)).get(timeout=30))
        print(pool.apply_async(os.getpid, ()).get(timeout=30) != os.getpid())
        several = [pool.apply_async(os.getpid, ()) for _ in range(4)]
        print(len([result.get(timeout=30) for result in several]))
        try:
            print(pool.apply_async(time.sleep, (10,)).get(timeout=1))
        except TimeoutError:
            print("We lacked patience and got a multiprocessing.TimeoutError")
        print("For the moment, the pool remains available for more work")
    print("Now the pool is closed and no longer available")
    try:
        pool.map(square, [1])
    except ValueError as error:
        print(error)


def life_of_a_process():
    child = Process(target=time.sleep, args=(1000,), name="sleeper")
    print(child.is_alive(), child.name, child.daemon)
    child.start()
    print(child.is_alive())
    child.terminate()
    child.join()
    print(child.is_alive(), child.exitcode)


def log():
    logger = multiprocessing.log_to_stderr()
    logger.setLevel(logging.INFO)
    logger.warning("doomed")
    child = Process(target=greet, args=("logger",), name="worker")
    child.start()
    child.join()
    logger.setLevel(logging.NOTSET)


def main():
    print(multiprocessing.get_start_method(), multiprocessing.get_context().get_start_method())
    for part in (processes, channels, locks, shared, pools, life_of_a_process, log):
        print(f"--- {part.__name__}", flush=True)
        part()
    print(sys.argv[1:], multiprocessing.active_children())


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
