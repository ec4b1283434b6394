"""Causes and effects: chains of three events, each the cause of the next.

A middle event has a cause and an effect among its neighbours, so that a choice between the two needs
the direction and not only the topic. {n} is a person.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

_CHAINS: Final = """
it rained all night | heavy rain fell for hours > the river rose | the river became very high > the bridge was closed | nobody could cross the bridge
{n} forgot the key | {n} left the key at work > {n} stood before a locked door | {n} could not get into the house > {n} slept at a hotel | {n} spent the night with a friend
{n} studied every evening | {n} learned hard for weeks > {n} passed the exam | {n} did well in the exam > the teacher praised {n} | {n} got a prize at school
the fire went out | nobody put wood on the fire > the room became cold | it grew cold in the room > {n} put on a coat | {n} asked for a blanket
{n} ran very far | {n} climbed a steep hill > {n} was tired | {n} had no strength left > {n} went to bed early | {n} fell asleep on the sofa
a storm hit the town | lightning struck a tower > the power failed | the lights went off > {n} lit a candle | {n} looked for a lamp
{n} ate too much cake | {n} drank old milk > {n} felt sick | {n} had a pain in the belly > {n} saw the doctor | {n} took some medicine
the sun came out | it became warm in spring > the snow melted | the ice on the lake broke > the children stopped skating | the snowman was gone
{n} slept too long | the alarm did not ring > {n} missed the bus | {n} came too late for the bus > {n} walked to work | {n} took a taxi
{n} watered the plant | {n} took good care of the plant > the plant grew | the plant got new leaves > {n} needed a bigger pot | {n} cut the plant
the baby was hungry | nobody had fed the baby > the baby cried | the baby made a lot of noise > the neighbours woke up | {n} warmed a bottle
{n} told a joke | {n} made a funny face > everyone laughed | the whole class laughed > the teacher became angry | the lesson had to stop
the road was icy | the street was full of snow > the car slipped | the car hit a tree > {n} called for help | the police came
{n} trained every day | {n} had a good coach > {n} won the race | {n} was the first to arrive > {n} got a medal | the newspaper wrote about {n}
{n} left the window open | {n} did not close the cage > the bird flew away | the bird was gone > {n} hung up a note | {n} searched in the trees
the cat knocked the vase | a ball hit the vase > the vase broke | the vase fell to pieces > {n} swept the floor | {n} bought some glue
{n} spilled the ink | a pen leaked in the bag > the shirt got a stain | there was a spot on the shirt > {n} washed the shirt | {n} wore another shirt
the cook lost count of the salt | somebody added salt twice > the soup was too salty | nobody could eat the soup > the guests asked for water | the guests sent the soup back
{n} dropped the phone | {n} sat down on the phone > the screen cracked | the phone stopped working > {n} went to a repair shop | {n} bought a new phone
no rain fell all summer | the summer was hot and dry > the field dried out | the corn died > the price of bread rose | the farmer lost money
{n} worked many extra hours | {n} found a better job > {n} earned more money | {n} could save some money > {n} bought a house | {n} paid all debts
the dog saw a stranger | somebody rang the bell > the dog barked | the dog ran to the door > {n} looked outside | {n} calmed the dog
{n} read a sad letter | {n} heard bad news > {n} began to cry | tears ran down the face of {n} > a friend hugged {n} | somebody gave {n} a handkerchief
the shop lowered the prices | a sale began > many people came to the shop | the shop was full > the shelves were soon empty | the owner hired more people
{n} forgot the bread in the oven | the oven was too hot > the bread burned | the kitchen filled with smoke > the fire alarm rang | {n} opened all the windows
the bridge was being repaired | an accident blocked the road > the cars could not move | there was a long line of cars > {n} arrived late at work | {n} turned round and went home
the wind blew hard | a storm came from the sea > the tree fell | the roof lost some stones > the garden wall was damaged | a worker had to repair the roof
{n} walked in the rain | {n} sat in a cold wind > {n} caught a cold | {n} began to cough > {n} stayed in bed | {n} drank hot tea
the singer was famous | the tickets were cheap > the concert was sold out | a long line stood before the hall > {n} got no ticket | a second concert was planned
{n} practised the piano | {n} took lessons from a master > {n} played without a mistake | {n} gave a great concert > the people clapped | the audience stood up
the tyre hit a nail | somebody cut the tyre > the bike had a flat tyre | air came out of the tyre > {n} pushed the bike home | {n} looked for a pump
{n} wore new shoes | the shoes were too small > {n} had sore feet | it hurt {n} to walk > {n} sat down on a bench | {n} took off the shoes
the ship hit a rock | a hole was in the ship > water came into the ship | the ship began to sink > the sailors climbed into boats | the captain called for rescue
{n} heard a loud noise | a bad dream scared {n} > {n} woke up | {n} could not sleep > {n} was tired in the morning | {n} drank a strong coffee
the team had a new player | the goalkeeper was very good > the team won the game | the team beat its rival > the fans sang all night | the city held a party
{n} lied to a friend | {n} broke a promise > the friend was angry | the friend did not speak to {n} > {n} said sorry | {n} wrote a long letter
"""


class Chain(NamedTuple):
    """Three events in a row; each has several phrasings."""

    events: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _read(line: str) -> Chain:
    first, second, third = (
        tuple(phrase.strip() for phrase in event.split("|")) for event in line.split(">")
    )
    return Chain((first, second, third))


CHAINS: Final[tuple[Chain, ...]] = tuple(_read(line) for line in _CHAINS.strip().splitlines())
TIMES: Final[tuple[str, ...]] = (
    "",
    "",
    "in the end ",
    "last year ",
    "that day ",
    "on Monday ",
    "on Friday ",
    "in winter ",
    "one morning ",
    "yesterday ",
)


def tell(rng: Random, chain: Chain, step: int, name: str) -> str:
    """Say one event of a chain as a clause.

    Args:
        rng: The source of chance.
        chain: The chain.
        step: 0, 1 or 2.
        name: The person of the event.
    """
    return rng.choice(chain.events[step]).format(n=name)


def when(rng: Random) -> str:
    """A time for a clause, often none, with a space behind it."""
    return rng.choice(TIMES)
