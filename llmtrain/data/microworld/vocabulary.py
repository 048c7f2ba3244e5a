"""The words and sentence forms of the microworld. Data only."""

PEOPLE = (
    "Mira Tom Ana Ben Lila Otto Nora Hugo Vera Max Ida Finn Emma Karl Rosa Paul Jana Leo Olga Sam Greta Noah Elsa Adam"
).split()
COLOURS = "red blue green yellow brown white black grey".split()
PLACES = "mill farm harbour school castle inn market tower".split()
JOBS = "baker farmer sailor teacher guard cook painter singer".split()
PETS = "dog cat horse goat duck hen sheep fox".split()
THINGS = "kite boat drum lamp bell chair cart flute".split()
FOODS = "bread soup cheese honey plums rice beans cake".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WORDS = "stone river cloud apple window garden silver button ladder pepper winter candle".split()

# attribute: (values, statements, questions). The first statement is the form of an answer.
FACTS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "home": (
        PLACES,
        ["{n} lives at the {v}.", "The home of {n} is the {v}."],
        ["Where does {n} live?", "At which place does {n} live?", "Where is the home of {n}?"],
    ),
    "job": (
        JOBS,
        ["{n} works as a {v}.", "The job of {n} is {v}."],
        ["What is the job of {n}?", "What work does {n} do?", "As what does {n} work?"],
    ),
    "pet": (
        PETS,
        ["{n} has a {v}.", "The pet of {n} is a {v}."],
        ["Which animal does {n} have?", "What is the pet of {n}?", "Which pet does {n} have?"],
    ),
    "petcolour": (
        COLOURS,
        ["The {pet} of {n} is {v}.", "{n} has a {v} {pet}."],
        ["What colour is the {pet} of {n}?", "Which colour has the {pet} of {n}?"],
    ),
    "thing": (
        THINGS,
        ["{n} owns a {v}.", "The thing of {n} is a {v}."],
        ["What does {n} own?", "Which thing does {n} own?"],
    ),
    "thingcolour": (
        COLOURS,
        ["The {thing} of {n} is {v}.", "{n} owns a {v} {thing}."],
        ["What colour is the {thing} of {n}?", "Which colour has the {thing} of {n}?"],
    ),
    "food": (
        FOODS,
        ["{n} likes to eat {v}.", "The best food of {n} is {v}."],
        ["What does {n} like to eat?", "Which food does {n} like?", "What is the best food of {n}?"],
    ),
}

# attribute of an animal: (value by animal, statement, questions)
KINDS: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "legs": (
        dict(dog="4", cat="4", horse="4", goat="4", duck="2", hen="2", sheep="4", fox="4", owl="2", ant="6"),
        "A {k} has {v} legs.",
        ["How many legs does a {k} have?", "How many legs has a {k}?"],
    ),
    "sound": (
        dict(dog="woof", cat="meow", horse="neigh", goat="bleat", duck="quack", hen="cluck", sheep="baa", fox="yip"),
        "A {k} says {v}.",
        ["What does a {k} say?", "Which sound does a {k} make?"],
    ),
    "diet": (
        dict(dog="meat", cat="fish", horse="hay", goat="leaves", duck="worms", hen="corn", sheep="grass", fox="mice"),
        "A {k} eats {v}.",
        ["What does a {k} eat?", "Which food does a {k} eat?"],
    ),
}

# Objects of the crafts. Enough of each that "do VERB to OBJECT" is learnt as copying and not by heart, and three verbs
# or more for each: an object whose every combination is held out was never the object of anything.
PANTRY = FOODS + "apples pears onions carrots peas nuts meat fish corn eggs".split()
FUEL = "wood paper leaves straw coal twigs logs bark hay moss".split()
BRITTLE = "egg nut ice glass stick shell plate jar brick branch".split()
QUICK = "fish ball fly moth frog crab leaf ring hat mouse".split()

NOUNS = sorted({*WORDS, *THINGS, *PETS, *PLACES, *PANTRY, *FUEL, *BRITTLE, *QUICK})
GROUPS = {
    "colours": COLOURS,
    "animals": PETS,
    "foods": PANTRY,
    "places": PLACES,
    "jobs": JOBS,
    "things": THINGS + BRITTLE + QUICK,
    "fuels": FUEL,
}

# verb: (tool, last step, objects). Three verbs stand in HARM too, so the verb alone does not tell.
CRAFT: dict[str, tuple[str, str, list[str]]] = {
    "mend": ("some glue", "let it dry", THINGS + PLACES),
    "paint": ("a brush", "let it dry", THINGS + PLACES),
    "clean": ("soap and water", "rinse it", THINGS + PLACES),
    "build": ("wood and nails", "test it", THINGS + PLACES),
    "draw": ("a pencil", "sign it", THINGS + PLACES + PETS + FUEL + BRITTLE + QUICK),
    "feed": ("a full bowl", "wait", PETS),
    "wash": ("soap and water", "rinse it", PETS + THINGS),
    "cook": ("a big pot", "serve it", PANTRY),
    "share": ("two plates", "serve it", PANTRY),
    "cut": ("a knife", "serve it", PANTRY),
    "burn": ("a match", "put out the fire", FUEL),
    "break": ("a small hammer", "sweep up", BRITTLE),
    "catch": ("a net", "let it go", QUICK),
    "carry": ("a basket", "put it down", PETS + FUEL + BRITTLE + QUICK + PANTRY),
    "store": ("a big box", "close the lid", FUEL + BRITTLE + PANTRY),
}
HARM: dict[str, tuple[str, list[str]]] = {
    "burn": ("a match", THINGS + PLACES),
    "break": ("a big hammer", THINGS + PLACES),
    "steal": ("a sack", THINGS + PETS + FOODS),
    "sink": ("a heavy stone", ["boat", "cart"]),
    "poison": ("some poison", PETS + FOODS),
    "hurt": ("a stick", PETS),
    "cut": ("a knife", THINGS),
    "catch": ("a trap", PETS),
    "wreck": ("an axe", THINGS + PLACES),
    "flood": ("a hose", PLACES),
}
SAFE = [verb for verb in CRAFT if verb not in HARM]
BARE = {*PANTRY, *FUEL, "ice", "glass"}  # words that take no article

WRAPS = ["{q}", "{q}", "Please answer: {q}", "Tell me: {q}", "I want to know: {q}"]
HOW = ["How do I {x}?", "How can I {x}?", "What is the way to {x}?"]
KIND_WORDS = ["kind", "nice", "warm"]
MEAN_WORDS = ["mean", "cruel", "nasty"]
DAY_AFTER = [
    "If today is {d}, what day will it be tomorrow?",
    "What day comes after {d}?",
    "Which day comes after {d}?",
    "Which day follows {d}?",
]
DAY_BEFORE = [
    "If today is {d}, what day was it yesterday?",
    "What day comes before {d}?",
    "Which day comes before {d}?",
    "Which day goes before {d}?",
]
SUMS = ["What is {a} plus {b}?", "How much is {a} plus {b}?", "Add {a} and {b}."]
TIMES = ["tomorrow", "next week", "next year"]

UNKNOWN_PERSON = "I do not know, because I never heard of that person."
UNKNOWN_THING = "I do not know, because I never heard of that thing."
FUTURE = "I do not know, because nobody can see the future."
DECLINE = "I will not help with that, because it would harm {who}. I can help you {offer}."
KIND_LETTER = "Dear {n}, you are a good friend. Thank you."
MEAN_LETTER = "Dear {n}, you are a bad friend. Go away."
