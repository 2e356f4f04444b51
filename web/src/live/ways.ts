// How a live picture may come here, the best way first. `?player=jpeg` in the page's address takes one of them alone.

import { JpegPlayer } from "./jpeg";
import type { PlayerFactory } from "./player";
import { MsePlayer, WebCodecsPlayer } from "./video";
import { WebRtcPlayer } from "./webrtc";

interface Way {
  name: string;
  works: () => boolean;
  make: PlayerFactory;
}

const WAYS: Way[] = [
  { name: "webcodecs", works: WebCodecsPlayer.works, make: (stream) => new WebCodecsPlayer(stream) },
  { name: "webrtc", works: WebRtcPlayer.works, make: (stream) => new WebRtcPlayer(stream) },
  { name: "mse", works: MsePlayer.works, make: (stream) => new MsePlayer(stream) },
  { name: "jpeg", works: () => true, make: (stream) => new JpegPlayer(stream) },
];

/** Never empty: JPEG works everywhere. */
export function waysHere(asked = new URLSearchParams(location.search).get("player")): PlayerFactory[] {
  const wanted = WAYS.filter(({ name }) => name === asked);
  return (wanted.length ? wanted : WAYS.filter(({ works }) => works())).map(({ make }) => make);
}
