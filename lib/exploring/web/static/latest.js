// Runs a task that only ever does the newest of what it is asked: while it runs, further requests become a single one.
export class Latest {
  constructor(task) {
    this.task = task;
    this.wanted = false;
    this.running = null;
  }

  ask() {
    this.wanted = true;
    this.running ??= this.run();
    return this.running;
  }

  async run() {
    try {
      while (this.wanted) {
        this.wanted = false;
        await this.task();
      }
    } finally {
      this.running = null;
    }
  }
}

// Calls a function once nothing has asked for it during so many milliseconds.
export function afterRest(milliseconds, does) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(does, milliseconds);
  };
}
