"""Two threads draw 800 from an account of 1000: without a lock it ends at -600, with one at 200."""

import threading
from concurrent.futures import ThreadPoolExecutor


class Account:
    def __init__(self, balance):
        self.balance = balance
        self.lock = threading.Lock()
        # Without a lock both look at the balance before either draws.
        self.both_have_looked = threading.Barrier(2, timeout=60)

    def draw(self, amount):
        if self.balance < amount:
            return "refused"
        self.both_have_looked.wait()
        with self.lock:  # (this one only makes the subtraction itself whole)
            self.balance -= amount
        return "paid"

    def draw_safely(self, amount):
        with self.lock:
            if self.balance < amount:
                return "refused"
            self.balance -= amount
            return "paid"


def main():
    with ThreadPoolExecutor(2) as executor:
        for method in (Account.draw, Account.draw_safely):
            account = Account(1000)
            answers = sorted(executor.map(method, [account] * 2, [800] * 2))
            print(f"{method.__name__}: {' and '.join(answers)}; balance {account.balance}")
            if method is Account.draw:
                assert (answers, account.balance) == (["paid", "paid"], -600)
            else:
                assert (answers, account.balance) == (["paid", "refused"], 200)


main()
