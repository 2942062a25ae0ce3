"""What people call the findings: synonyms, abbreviations, adjectives and laypeople's words.

Plurals, British spellings and single typing errors need no entry: ``tokens`` undoes them. Where a word has no finding of its
own it stands with the one that report labellers give it: heart failure and congestion are edema, an empyema is "Pleural
Other" (Irvin et al., CheXpert, AAAI 2019).
"""

from __future__ import annotations

from cxr.vocabulary import FINDINGS

# Entries are separated by commas; NIH's names and the words of the captions come first.
NIH_WORDS: dict[str, str] = {
    "Atelectasis": (
        "atelectasis, atelectases, atelectatic change, atelectatic, atelectasia, lung volume loss, volume loss, lobar collapse,"
        " collapse, collapse of the lobe, collapsed lobe, subsegmental collapse, discoid atelectasis, plate atelectasis,"
        " linear atelectasis, platelike atelectasis, plate like atelectasis"
    ),
    "Cardiomegaly": (
        "cardiomegaly, cardiomegalia, cardiac enlargement, enlargement of the heart, enlargement of the cardiac silhouette,"
        " enlarged heart, enlarged cardiac silhouette, enlarged cardiac shadow, big heart, large heart, cardiac dilatation,"
        " dilated heart, increased cardiothoracic ratio, increased ctr, raised ctr, cardiomegalic, heart enlargement,"
        " megacardia, boot shaped heart"
    ),
    "Consolidation": "consolidation, consolidative change, consolidative opacity, consolidative, consolidated lung, consolidated",
    "Edema": (
        "edema, odema, pulmonary edema, interstitial edema, alveolar edema, lung edema, flash edema, edematous, congestion, vascular"
        " congestion, pulmonary congestion, venous congestion, pulmonary vascular congestion, pulmonary venous congestion,"
        " vascular redistribution, cephalization, upper lobe diversion, upper lobe blood diversion, kerley b line, kerley line,"
        " septal line, chf, ccf, heart failure, congestive heart failure, congestive cardiac failure, cardiac failure,"
        " left ventricular failure, lvf, hfref, hfpef, cardiac decompensation, decompensated heart failure, fluid overload,"
        " volume overload, fluid in the lung, fluid in lung, fluid in both lungs, water on the lung, water in the lung,"
        " fluid on the lung, wet lung, congested lung, pulmonary venous hypertension, pulm edema, congested"
    ),
    "Effusion": (
        "effusion, pleural effusion, pleural fluid, pleural collection, hydrothorax, parapneumonic effusion, subpulmonic effusion,"
        " blunting of costophrenic angle, blunting of the costophrenic angle, blunted costophrenic angle, blunted cp angle,"
        " costophrenic angle blunting, cp angle blunting, blunting of cp angle, blunting of the cp angle, costophrenic blunting,"
        " blunting of the costophrenic sulcus, blunted costophrenic sulcus, fluid around, fluid around the lung,"
        " fluid around lung, fluid in the pleural space, pleural eff, pl effusion, pleff, meniscus sign"
    ),
    "Emphysema": (
        "emphysema, emphysematous lung, emphysematous change, emphysematous, bullous emphysema, bulla, bullae, bullous change,"
        " bullous disease, hyperinflated lung, hyperinflated, hyperinflation, lung hyperinflation, hyperexpanded lung,"
        " hyperexpanded, hyperexpansion, overinflated, overinflation, hyperaerated, hyperaeration, hyperlucent lung,"
        " hyperlucency, air trapping, flattened diaphragm, flattening of the diaphragm, flattened hemidiaphragm,"
        " flattening of the hemidiaphragm, barrel chest"
    ),
    "Fibrosis": (
        "fibrosis, pulmonary fibrosis, lung fibrosis, interstitial fibrosis, idiopathic pulmonary fibrosis, ipf, fibrotic change,"
        " fibrotic, honeycombing, honeycomb lung, scarring, scar, fibrotic scarring, parenchymal scarring, lung scarring,"
        " usual interstitial pneumonia, uip, fibrotic band, fibrous"
    ),
    "Hernia": (
        "hernia, hiatal hernia, hiatus hernia, diaphragmatic hernia, congenital diaphragmatic hernia, cdh, paraesophageal hernia,"
        " bochdalek hernia, morgagni hernia, intrathoracic stomach, herniation"
    ),
    "Infiltration": (
        "infiltration, infiltrate, pulmonary infiltrate, lung infiltration, lung infiltrate, interstitial infiltrate,"
        " alveolar infiltrate, infiltrative change, infiltrative"
    ),
    "Mass": (
        "mass, lung mass, pulmonary mass, tumor, lung tumor, neoplasm, lung cancer, lung ca, bronchial carcinoma, carcinoma,"
        " bronchogenic carcinoma, lung carcinoma, lung malignancy, malignant lesion, malignancy, neoplastic process,"
        " pancoast tumor, lung with cancer, cancer in the lung, cancer of the lung, adenocarcinoma, lung neoplasm, mass lesion,"
        " bronchogenic ca, nsclc, sclc, cancer"
    ),
    "Nodule": (
        "nodule, lung nodule, pulmonary nodule, solitary pulmonary nodule, spn, nodular density, micronodule, nodular lesion,"
        " coin lesion, spot on the lung, spot on lung, spot in the lung, nodularity"
    ),
    "Pleural_Thickening": (
        "pleural thickening, thickened pleura, thickening of the pleura, apical pleural cap, apical cap, pleural cap,"
        " thickening of pleura"
    ),
    "Pneumonia": (
        "pneumonia, pna, lung infection, chest infection, bronchopneumonia, pneumonic change, pneumonic consolidation, pneumonic,"
        " infectious process, aspiration pneumonia, lobar pneumonia, viral pneumonia, bacterial pneumonia, pneumonitis, lrti, cap,"
        " community acquired pneumonia, infective change, infective process, pulmonary infection, infected lung, covid pneumonia,"
        " round pneumonia, hap, vap, pcp pneumonia, pneumocystis, pjp, infection of the lung, infection in the lung"
    ),
    "Pneumothorax": (
        "pneumothorax, pneumothoraces, pneumothoraxes, ptx, pnx, collapsed lung, lung collapse from air, deep sulcus sign,"
        " spontaneous pneumothorax, pneumo, visceral pleural line, air in the pleural space, pneumothroax"
    ),
}
OTHER_WORDS: dict[str, str] = {
    "Support Devices": (
        "support device, pacemaker, pacer, icd, aicd, defibrillator, pacemaker lead, pacing lead, pacing wire, pacing device, ppm,"
        " cied, ett, et tube, endotracheal tube, breathing tube, intubated, ng tube, ngt, nasogastric tube, og tube, ogt, dobhoff,"
        " dobhoff tube, enteric tube, feeding tube, orogastric tube, central line, cvc, cvl, central venous catheter,"
        " central venous line, picc, picc line, catheter, venous catheter, dialysis catheter, permcath, vascath, hickman line,"
        " ij line, internal jugular line, ij catheter, subclavian line, subclavian catheter, ij central line, jugular line,"
        " subclavian central line, swan ganz, swan ganz catheter, pa catheter, pulmonary artery catheter, port, port a cath,"
        " portacath, mediport, chemo port, chest tube, chest drain, intercostal drain, pleural drain, icc, pigtail, pigtail"
        " catheter, thoracostomy tube, pleurx, drain, sternotomy wire, sternal wire, median sternotomy wire, sternotomy,"
        " median sternotomy, surgical clip, tracheostomy, tracheostomy tube, trach, trach tube, iabp, balloon pump,"
        " intra aortic balloon pump, ecmo, ecmo cannula, lvad, impella, prosthetic valve, valve prosthesis, valve replacement,"
        " mechanical valve, stent, line and tube, tube and line, tube, medical device, device, implant, loop recorder,"
        " umbilical catheter, umbilical line, uvc, uac, vp shunt, spinal hardware, electrode, ecg lead, ekg lead"
    ),
    "Fracture": (
        "fracture, rib fracture, fractured rib, fractured clavicle, clavicle fracture, broken rib, fractured, fx, rib fx,"
        " clavicular fracture, compression fracture, vertebral fracture, sternal fracture, flail chest, flail segment,"
        " broken clavicle, broken collarbone, broken bone, osseous fracture, wedge fracture, humeral fracture, cracked rib"
    ),
    "Lung Opacity": (
        "lung opacity, opacity, opacification, airspace disease, airspace opacity, air space opacity, air space disease,"
        " airspace process, airspace shadowing, air space shadowing, shadowing, ground glass, ground glass opacity, ggo, haze,"
        " haziness, hazy opacity, white out, whiteout, opacified, density, interstitial opacity, reticular opacity,"
        " reticulation, reticular shadowing, reticulonodular opacity, reticulonodular shadowing, nodular opacity,"
        " alveolar opacity, parenchymal opacity, shadow, reticular pattern, mass like opacity, masslike opacity, airspace change,"
        " airspace opacification, air space opacification, white lung, ill defined opacity"
    ),
    "Lung Lesion": "lung lesion, pulmonary lesion, lesion, lytic lesion",
    "Pleural Other": (
        "pleural other, empyema, hemothorax, pleural plaque, pleural calcification, calcified pleura, calcified pleural plaque,"
        " chylothorax, fibrothorax, pyothorax, mesothelioma, pleural scarring, pleural scar, pleural mass, pleural disease"
    ),
    "Enlarged Cardiomediastinum": (
        "enlarged cardiomediastinum, widened mediastinum, mediastinal widening, wide mediastinum, mediastinal enlargement,"
        " widening of the mediastinum, broad mediastinum, enlarged mediastinum, enlarged cardiomediastinal silhouette,"
        " widened superior mediastinum, superior mediastinal widening"
    ),
    "Tuberculosis": "tuberculosis, tb, miliary tuberculosis, pulmonary tuberculosis, ptb, miliary tb, pulmonary tb, tuberculous change, koch",
    "COVID-19": "covid 19, covid, covid19, sars cov 2, sars cov2, coronavirus, covid pneumonia, covid 19 pneumonia, corona virus",
    "COPD": "copd, chronic obstructive pulmonary disease, obstructive airway disease, coad, chronic bronchitis",
    "Interstitial Markings": (
        "interstitial marking, interstitial prominence, bronchovascular marking, prominent marking, lung marking,"
        " interstitial change, interstitial pattern"
    ),
    "Interstitial Lung Disease": "interstitial lung disease, ild, nsip, interstitial disease",
    "Cavity": "cavity, cavitary lesion, cavitation, cavitating lesion, cavitary, cavitating mass, cavitating",
    "Abscess": "abscess, lung abscess",
    "Granuloma": "granuloma, calcified granuloma, granulomatous disease, old granulomatous disease, calcified nodule",
    "Metastases": "metastasis, metastases, mets, metastatic disease, lung mets, cannonball metastases, pulmonary metastases, metastatic",
    "Lymphadenopathy": (
        "lymphadenopathy, adenopathy, hilar enlargement, enlarged hilum, enlarged hilar node, enlarged lymph node, bhl,"
        " lymph node, hilar fullness, hilar prominence, mediastinal lymphadenopathy, mediastinal adenopathy, lymphoma"
    ),
    "Sarcoidosis": "sarcoidosis, sarcoid",
    "Pneumomediastinum": "pneumomediastinum, mediastinal air, air in the mediastinum, mediastinal emphysema",
    "Pneumoperitoneum": (
        "pneumoperitoneum, free air, free air under the diaphragm, air under the diaphragm, subdiaphragmatic air, free gas,"
        " free subdiaphragmatic air, free gas under the diaphragm, free intraperitoneal air, free air under diaphragm"
    ),
    "Subcutaneous Emphysema": "subcutaneous emphysema, surgical emphysema, subq emphysema, subcutaneous air, soft tissue emphysema, sq emphysema",
    "Pericardial Effusion": "pericardial effusion, fluid around the heart, fluid around heart, pericardial fluid",
    "Mediastinal Shift": "mediastinal shift, tracheal deviation, tracheal shift, shift of the mediastinum, deviation of the trachea, midline shift",
    "Elevated Diaphragm": (
        "elevated hemidiaphragm, elevated diaphragm, elevation of the hemidiaphragm, raised hemidiaphragm, hemidiaphragm elevation,"
        " raised diaphragm, diaphragmatic elevation, eventration, diaphragm elevation"
    ),
    "Scoliosis": "scoliosis, kyphosis, kyphoscoliosis, scoliotic spine, dextroscoliosis, levoscoliosis",
    "Degenerative Change": "degenerative change, osteophyte, spondylosis, degenerative disc disease, dextroconvex, osteoarthritis, arthritis",
    "Osteopenia": "osteopenia, osteoporosis, demineralization",
    "Tortuous Aorta": "tortuous aorta, aortic tortuosity, unfolded aorta, ectatic aorta, tortuous thoracic aorta, aortic ectasia",
    "Aortic Calcification": (
        "aortic calcification, calcified aorta, atherosclerotic calcification, aortic atherosclerosis, aortic knob calcification,"
        " calcified aortic knob, calcified aortic arch, atherosclerosis, atherosclerotic aorta"
    ),
    "Aortic Aneurysm": "aortic aneurysm, aneurysm, thoracic aneurysm, aortic dissection, dissection",
    "Bronchiectasis": "bronchiectasis, bronchiectatic change, bronchiectatic",
    "Bronchial Thickening": "bronchial wall thickening, peribronchial cuffing, peribronchial thickening, bronchial thickening, airway thickening",
    "Bronchiolitis": "bronchiolitis, rsv",
    "ARDS": "ards, acute respiratory distress syndrome, acute lung injury",
    "Respiratory Distress Syndrome": "rds, respiratory distress syndrome, hyaline membrane disease, surfactant deficiency",
    "Pulmonary Hypertension": "pulmonary hypertension, enlarged pulmonary artery, enlarged pulmonary arteries, pulmonary arterial hypertension",
    "Pulmonary Embolism": "pulmonary embolism, pulmonary emboli, pulmonary embolus, pe, pulmonary infarct, hampton hump",
    "Aspiration": "aspiration, aspiration event",
    "Asbestosis": "asbestosis, silicosis, pneumoconiosis, asbestos related disease, coal worker pneumoconiosis",
    "Cystic Fibrosis": "cystic fibrosis",
    "Dextrocardia": "dextrocardia, situs inversus",
    "Foreign Body": "foreign body, ingested coin, swallowed coin, aspirated foreign body",
    "Contusion": "contusion, pulmonary contusion, lung contusion, lung bruise",
    "Goitre": "goiter, thyroid enlargement, thyroid mass",
    "Croup": "croup, steeple sign, epiglottitis",
    "Cervical Rib": "cervical rib",
}
OTHER_FINDINGS = tuple(OTHER_WORDS)
# One word, two findings.
COMBINED_WORDS: dict[str, tuple[str, ...]] = {
    "hydropneumothorax": ("Effusion", "Pneumothorax"),
    "covid pneumonia": ("Pneumonia", "COVID-19"),
    "covid 19 pneumonia": ("Pneumonia", "COVID-19"),
    "post obstructive collapse": ("Atelectasis",),
    "obstructive pneumonia": ("Pneumonia",),
    "hemopneumothorax": ("Pleural Other", "Pneumothorax"),
    "tuberculous effusion": ("Effusion", "Tuberculosis"),
    "metastatic nodule": ("Nodule", "Metastases"),
    "cavitating pneumonia": ("Pneumonia", "Cavity"),
    "cavitating tuberculosis": ("Tuberculosis", "Cavity"),
}
# Findings of the lungs themselves: these contradict "clear lungs".
LUNG_FINDINGS = frozenset(
    {"Atelectasis", "Consolidation", "Edema", "Infiltration", "Mass", "Nodule", "Pneumonia", "Fibrosis", "Emphysema"}
    | {"Lung Opacity", "Lung Lesion", "Cavity", "Abscess", "ARDS", "Tuberculosis", "COVID-19", "Metastases"}
)
# A normal heart and the like deny a finding; other parts of the body say nothing about one.
NORMAL_DENIES: dict[str, tuple[str, ...]] = {
    "heart": ("Cardiomegaly",),
    "cardiomediastinum": ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    "mediastinum": ("Enlarged Cardiomediastinum",),
    "pleura": ("Effusion",),
}
ENLARGED_MEANS = {
    "heart": "Cardiomegaly",
    "cardiomediastinum": "Enlarged Cardiomediastinum",
    "mediastinum": "Enlarged Cardiomediastinum",
}


def finding_phrases() -> dict[str, tuple[str, ...]]:
    """Every phrase that names findings, lower case, and the findings that it names."""
    table = {
        phrase.strip(): (name,)
        for words in (NIH_WORDS, OTHER_WORDS)
        for name in words
        for phrase in words[name].split(",")
    }
    table |= {name.lower().replace("_", " ").replace("-", " "): (name,) for name in (*FINDINGS, *OTHER_FINDINGS)}
    return table | COMBINED_WORDS
