import type { Notice } from './compose.js'

export type ChannelName = 'email' | 'sms' | 'push'

export interface Letter {
  readonly channel: ChannelName
  readonly subject: string
  readonly text: string
}

/** One way to reach a person. What it sends is what fits it. */
export interface Channel {
  readonly name: ChannelName
  write(notice: Notice): Letter
}

/** As long as one short message is. */
const longestSms = 160

/** As much of a push message as a phone shows. */
const longestPush = 100

/** All of them. The shop has no provider: a letter goes to the outbox, where it can be looked at. */
export const channels: readonly Channel[] = [
  { name: 'email', write: ({ subject, text }) => ({ channel: 'email', subject, text }) },
  {
    name: 'sms',
    write: ({ subject, text }) => ({ channel: 'sms', subject, text: shortened(`${subject}. ${text}`, longestSms) }),
  },
  { name: 'push', write: ({ subject, text }) => ({ channel: 'push', subject, text: shortened(text, longestPush) }) },
]

function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).trimEnd()}…`
}
