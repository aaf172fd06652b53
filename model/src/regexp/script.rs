//! Names of Unicode's categories and scripts in `\p{…}`.
//!
//! Source: the Unicode Character Database, `PropertyValueAliases.txt`. Scripts are known by their long names only.

/// What a name stands for.
pub(super) enum Property {
    /// What Rust writes between the braces.
    Rust(String),
    /// Surrogates: no text holds one.
    Nothing,
}

/// Short and long names, in small letters without anything between.
const CATEGORIES: [(&str, &str); 38] = [
    ("c", "other"),
    ("cc", "control"),
    ("cf", "format"),
    ("cn", "unassigned"),
    ("co", "privateuse"),
    ("cs", "surrogate"),
    ("l", "letter"),
    ("lc", "casedletter"),
    ("ll", "lowercaseletter"),
    ("lm", "modifierletter"),
    ("lo", "otherletter"),
    ("lt", "titlecaseletter"),
    ("lu", "uppercaseletter"),
    ("m", "mark"),
    ("mc", "spacingmark"),
    ("me", "enclosingmark"),
    ("mn", "nonspacingmark"),
    ("n", "number"),
    ("nd", "decimalnumber"),
    ("nl", "letternumber"),
    ("no", "othernumber"),
    ("p", "punctuation"),
    ("pc", "connectorpunctuation"),
    ("pd", "dashpunctuation"),
    ("pe", "closepunctuation"),
    ("pf", "finalpunctuation"),
    ("pi", "initialpunctuation"),
    ("po", "otherpunctuation"),
    ("ps", "openpunctuation"),
    ("s", "symbol"),
    ("sc", "currencysymbol"),
    ("sk", "modifiersymbol"),
    ("sm", "mathsymbol"),
    ("so", "othersymbol"),
    ("z", "separator"),
    ("zl", "lineseparator"),
    ("zp", "paragraphseparator"),
    ("zs", "spaceseparator"),
];

/// Further long names of categories.
const ALIASES: [(&str, &str); 4] =
    [("cntrl", "cc"), ("combiningmark", "m"), ("digit", "nd"), ("punct", "p")];

/// Scripts, written as the categories are.
const SCRIPTS: &str = "\
    adlam ahom anatolianhieroglyphs arabic armenian avestan balinese bamum bassavah batak bengali bhaiksuki \
    bopomofo brahmi braille buginese buhid canadianaboriginal carian caucasianalbanian chakma cham cherokee \
    chorasmian common coptic cuneiform cypriot cyprominoan cyrillic deseret devanagari divesakuru dogra \
    duployan egyptianhieroglyphs elbasan elymaic ethiopic garay georgian glagolitic gothic grantha greek \
    gujarati gunjalagondi gurmukhi gurungkhema han hangul hanifirohingya hanunoo hatran hebrew hiragana \
    imperialaramaic inherited inscriptionalpahlavi inscriptionalparthian javanese kaithi kannada katakana \
    kawi kayahli kharoshthi khitansmallscript khmer khojki khudawadi kiratrai lao latin lepcha limbu lineara \
    linearb lisu lycian lydian mahajani makasar malayalam mandaic manichaean marchen masaramgondi medefaidrin \
    meeteimayek mendekikakui meroiticcursive meroitichieroglyphs miao modi mongolian mro multani myanmar \
    nabataean nagmundari nandinagari newtailue newa nko nushu nyiakengpuachuehmong ogham olchiki olonal \
    oldhungarian olditalic oldnortharabian oldpermic oldpersian oldsogdian oldsoutharabian oldturkic \
    olduyghur oriya osage osmanya pahawhhmong palmyrene paucinhau phagspa phoenician psalterpahlavi rejang \
    runic samaritan saurashtra sharada shavian siddham signwriting sinhala sogdian sorasompeng soyombo \
    sundanese sunuwar sylotinagri syriac tagalog tagbanwa taile taitham taiviet takri tamil tangsa tangut \
    telugu thaana thai tibetan tifinagh tirhuta todhri toto tulutigalari ugaritic vai vithkuqi wancho \
    warangciti yezidi yi zanabazarsquare";

/// The property of this name; case, spaces, `_` and `-` do not count.
pub(super) fn property(name: &str) -> Option<Property> {
    let is_between = |c: &char| matches!(c, '_' | '-' | ' ');
    let name: String = name.chars().filter(|c| !is_between(c)).collect();
    let name = name.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, short)| *short);
    let name = alias.unwrap_or(&name);
    if matches!(name, "any" | "assigned" | "ascii") {
        return Some(Property::Rust(name.to_owned()));
    }
    let mut categories = CATEGORIES.iter();
    if let Some((short, _)) = categories.find(|(short, long)| *short == name || *long == name) {
        return Some(match *short {
            "cs" => Property::Nothing,
            short => Property::Rust(format!("gc={short}")),
        });
    }
    SCRIPTS.split(' ').any(|known| known == name).then(|| Property::Rust(format!("sc={name}")))
}
