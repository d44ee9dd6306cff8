import { connect, type Socket } from 'node:net';

/**
 * One keep-alive connection that fetches and lets the bodies go: for answers of megabytes at rates where keeping them would
 * cost the generator more than they cost the server. Understands answers with Content-Length.
 */
export class Getter {
  private readonly host: string;
  private readonly port: number;
  private socket: Socket | undefined;
  private head = '';
  private missing = 0;
  private answer: { status: number; bytes: number } | undefined;
  private pending: { resolve: (answer: { status: number; bytes: number }) => void; reject: (error: Error) => void } | undefined;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.host = hostname;
    this.port = Number(port);
  }

  /** One at a time. */
  async get(path: string): Promise<{ status: number; bytes: number }> {
    this.socket ??= this.open();
    const { socket } = this;
    return await new Promise((resolve, reject) => {
      this.pending = { resolve, reject };
      socket.write(`GET ${path} HTTP/1.1\r\nhost: ${this.host}:${this.port}\r\n\r\n`, 'latin1');
    });
  }

  close(): void {
    this.socket?.destroy();
  }

  private open(): Socket {
    const callback = (length: number, buffer: Uint8Array): boolean => {
      this.take(Buffer.from(buffer.buffer, buffer.byteOffset, length));
      return true;
    };
    const onread = { buffer: Buffer.alloc(65_536), callback };
    const socket = connect({ host: this.host, port: this.port, noDelay: true, onread });
    socket.once('error', (error) => this.pending?.reject(error));
    socket.once('close', () => this.pending?.reject(new Error('the connection was closed')));
    return socket;
  }

  private take(bytes: Buffer): void {
    let body = bytes.length;
    if (this.answer === undefined) {
      const before = this.head.length;
      this.head += bytes.toString('latin1');
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) return;
      body = before + bytes.length - (end + 4);
      const length = /\r\ncontent-length: *(\d+)/i.exec(this.head.slice(0, end + 2))?.[1];
      if (length === undefined) {
        this.pending?.reject(new Error(`expected a body with a length, got ${this.head.slice(0, end)}`));
        return;
      }
      this.answer = { status: Number(this.head.slice(9, 12)), bytes: Number(length) };
      this.missing = Number(length);
      this.head = '';
    }
    this.missing -= body;
    if (this.missing > 0) return;
    const { answer, pending } = this;
    this.answer = undefined;
    this.pending = undefined;
    pending?.resolve(answer);
  }
}
