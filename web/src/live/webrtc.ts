// H.264 as the camera sent it, by WebRTC (docs/http.md, "WebRTC"): the browser receives and decodes; its pictures are drawn
// on the canvas, as those of all other ways, so that results belong to the frame shown. Which frame a picture shows is
// said beside it, by RTP time.

import { type Config, type Head, VideoPlayer } from "./video";

const PATIENCE_MS = 6000; // for an answer
const STALLED_MS = 3000; // the camera goes on, and nothing of it is seen
const LOOK_MS = 500;
const MOST_TRIES = 3;
const KEPT_TICKS = 2 * 90_000;
const GONE = ["failed", "closed", "disconnected"];

/** The server said that it may work later. */
class NotNow extends Error {}

interface Unmatched {
  ticks: number;
  picture: ImageBitmap;
}

export class WebRtcPlayer extends VideoPlayer {
  static readonly works = (): boolean =>
    "RTCPeerConnection" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

  readonly delivery = "WebRTC";
  private peer: RTCPeerConnection | null = null;
  private element: HTMLVideoElement | null = null;
  private origin = 0; // RTP time of media time 0
  private heads = new Map<number, Head>(); // by RTP time since then
  private unmatched: Unmatched | null = null; // a picture that came before what is said of it
  private seen_ms = 0; // the last picture, or the answer
  private told_ms = 0; // the last time that the camera gave one
  private tries = 0; // since the last picture
  private worked = false;
  private looking = 0;

  constructor(stream: string) {
    super(stream, "times");
  }

  protected override begin(_: Config): void {
    if (this.peer) return; // it learns what has changed by itself
    this.tries = 0;
    this.connect();
  }

  protected override unit(head: Head): void {
    this.acknowledge(head.number);
    this.told_ms = performance.now();
    const ticks = ticksOf(head.pts_ns);
    this.heads.set(ticks, head);
    for (const each of this.heads.keys()) if (((ticks - each) >>> 0) > KEPT_TICKS) this.heads.delete(each);
    if (this.unmatched?.ticks === ticks) this.holdUnmatched(this.unmatched, head);
  }

  private connect(): void {
    this.letGo();
    const peer = new RTCPeerConnection();
    this.peer = peer;
    this.seen_ms = Infinity; // the answer may take a while: the first viewer of all starts what sends
    this.looking = window.setInterval(() => this.look(), LOOK_MS);
    peer.ontrack = ({ track, receiver }) => this.peer === peer && this.play(track, receiver);
    peer.onconnectionstatechange = () => this.peer === peer && GONE.includes(peer.connectionState) && this.again(peer.connectionState);
    this.negotiate(peer).catch((error: unknown) => this.peer === peer && this.again(String(error), error instanceof NotNow || this.worked));
  }

  private async negotiate(peer: RTCPeerConnection): Promise<void> {
    preferH264(peer.addTransceiver("video", { direction: "recvonly" }));
    await peer.setLocalDescription();
    const init = { method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription!.sdp };
    const answer = await fetch(`${this.path}/whep`, { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
    const sdp = await answer.text();
    if (answer.status === 503 || answer.status === 504) throw new NotNow(sdp);
    if (!answer.ok) throw new Error(sdp);
    this.origin = Number(answer.headers.get("X-Rtp-Origin"));
    if (this.peer !== peer) return;
    this.seen_ms = this.told_ms = performance.now();
    await peer.setRemoteDescription({ type: "answer", sdp });
  }

  private play(track: MediaStreamTrack, receiver: RTCRtpReceiver & { jitterBufferTarget?: number | null }): void {
    receiver.jitterBufferTarget = 0;
    const element = this.hiddenVideo();
    this.element = element;
    const next = (_: number, { rtpTimestamp }: VideoFrameCallbackMetadata): void => {
      if (this.element !== element) return;
      if (rtpTimestamp === undefined) return this.giveUp("the browser does not say which picture it shows");
      this.present(element, (rtpTimestamp - this.origin) >>> 0);
      element.requestVideoFrameCallback(next);
    };
    element.requestVideoFrameCallback(next);
    element.srcObject = new MediaStream([track]);
    element.play().catch(() => undefined);
  }

  private present(element: HTMLVideoElement, ticks: number): void {
    const { videoWidth: width, videoHeight: height } = element;
    const head = this.heads.get(ticks);
    this.seen_ms = performance.now();
    this.tries = 0;
    this.worked = true;
    if (head && this.isReady(head)) return this.show(element, width, height, head);
    const picture = copied(element, width, height);
    if (head) return this.hold(picture, width, height, head);
    this.unmatched?.picture.close();
    this.unmatched = { ticks, picture };
  }

  private holdUnmatched({ picture }: Unmatched, head: Head): void {
    this.unmatched = null;
    this.hold(picture, picture.width, picture.height, head);
  }

  private look(): void {
    if (this.told_ms - this.seen_ms > STALLED_MS) this.again("no picture comes");
  }

  /** One more try, where that is worth it. */
  private again(why: string, is_hopeful = this.worked): void {
    if (++this.tries > MOST_TRIES || !is_hopeful) return this.giveUp(why);
    this.letGo();
    this.looking = window.setTimeout(() => this.connect(), this.tries * LOOK_MS);
  }

  /** Let go of the connection. */
  private letGo(): void {
    clearTimeout(this.looking);
    this.release();
    this.unmatched?.picture.close();
    this.peer?.close();
    this.element?.remove();
    if (this.element) this.element.srcObject = null;
    this.peer = this.element = this.unmatched = null;
  }

  protected override reset(): void {
    this.letGo();
    this.heads.clear();
  }
}

/** Media time in RTP's clock of 90 kHz, 32 bits of it, as the server counts. */
export const ticksOf = (pts_ns: number): number => Number(((BigInt(pts_ns) * 9n) / 100_000n) & 0xffffffffn);

/** The only codec that is sent as the camera made it; what repairs it comes with it. */
function preferH264(transceiver: RTCRtpTransceiver): void {
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs.filter(({ mimeType }) => mimeType === "video/H264") ?? [];
  if (codecs.length) transceiver.setCodecPreferences(codecs);
}

function copied(element: HTMLVideoElement, width: number, height: number): ImageBitmap {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d", { alpha: false })?.drawImage(element, 0, 0, width, height);
  return canvas.transferToImageBitmap();
}
