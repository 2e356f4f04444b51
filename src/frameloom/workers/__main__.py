"""Entry of a worker process; the supervisor starts it, people do not."""

from frameloom.workers.main import main

if __name__ == "__main__":
    main()
