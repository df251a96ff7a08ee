// A queue that runs so many tasks at once and no more, in the order in which they came.

export class Queue {
  #limit;
  #running = 0;
  #waiting = [];

  constructor(limit) {
    this.#limit = limit;
  }

  /** Run a task when there is room; its promise is returned. A signal that is aborted takes it out of the queue. */
  run(task, signal) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, signal, resolve, reject });
      this.#next();
    });
  }

  #next() {
    while (this.#running < this.#limit && this.#waiting.length > 0) this.#start(this.#waiting.shift());
  }

  async #start({ task, signal, resolve, reject }) {
    this.#running += 1;
    try {
      signal?.throwIfAborted();
      resolve(await task());
    } catch (error) {
      reject(error);
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}
